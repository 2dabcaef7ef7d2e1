"""How long to wait before a lost source is tried again: for ever, and never all sources at the same moment."""

from __future__ import annotations

import random


class Backoff:
    """Exponential delays with jitter, between half and the whole of each step.

    Args:
        first, cap: seconds of the first step, and of the longest one; with 5 s a camera that is back is seen within 5 s.
        seed: of the jitter.
    """

    def __init__(self, first: float = 0.5, cap: float = 5.0, *, seed: int = 0) -> None:
        self._first, self._cap, self._random = first, cap, random.Random(seed)  # noqa: S311 - no secret
        self._step = first

    def next(self) -> float:
        """Seconds to wait before the next try."""
        step, self._step = self._step, min(self._cap, self._step * 2)
        return step * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It is connected: the next loss starts anew."""
        self._step = self._first
