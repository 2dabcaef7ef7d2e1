"""The first tier: has anything in the picture changed? A tenth of a millisecond a frame, whatever the picture's size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]


def difference(now: Luma, then: Luma) -> NDArray[np.float32]:
    """How much each place changed between two small grey pictures, ``[36, 64]``, in grey levels.

    The ratio of the medians takes out exposure, so that a lamp or a cloud is no event; a 3x3 mean takes out noise.
    """
    a, b = now.astype(np.float32), then.astype(np.float32)
    ratio = float(np.clip((np.median(a) + 4.0) / (np.median(b) + 4.0), 0.5, 2.0))
    return np.abs(cv2.blur(a - b * ratio, (3, 3))).astype(np.float32)


class PixelGate:
    """Compares each picture with the last one that was examined, so that slow changes add up until somebody looks."""

    def __init__(self) -> None:
        self._examined: Luma | None = None

    def change(self, luma: Luma) -> float:
        """The largest local change since the last examined picture, 0 to 1; 1 before the first one."""
        if self._examined is None:
            return 1.0
        return min(1.0, float(difference(luma, self._examined).max()) / 255.0)

    def examined(self, luma: Luma) -> None:
        self._examined = luma
