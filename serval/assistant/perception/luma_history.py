"""The last few seconds as small grey pictures: did anything change where the detector says that something came or went?"""

from __future__ import annotations

from collections import deque

import numpy as np

from serval.assistant.perception.pixel_gate import Luma, difference
from serval.media.box import Box


class LumaHistory:
    """At most ``seconds`` of pictures, no closer together than ``spacing``."""

    def __init__(self, seconds: float = 4.0, spacing: float = 0.2) -> None:
        self._spacing = spacing
        self._kept: deque[tuple[float, Luma]] = deque(maxlen=int(seconds / spacing) + 1)

    def add(self, luma: Luma, time: float) -> None:
        if not self._kept or time - self._kept[-1][0] >= self._spacing - 1e-6:
            self._kept.append((time, luma))

    def clear(self) -> None:
        self._kept.clear()

    def at(self, time: float) -> Luma | None:
        """The last picture kept at ``time`` or before; None when memory does not reach so far back."""
        return next((luma for when, luma in reversed(self._kept) if when <= time + 1e-6), None)


def changed_within(box: Box, now: Luma, then: Luma) -> float:
    """How much the picture changed inside ``box``, in grey levels: the 80th percentile, so that a passing edge is no change."""
    height, width = now.shape
    left, top, right, bottom = box.pixels(width, height)
    return float(np.percentile(difference(now, then)[top:bottom, left:right], 80))
