"""From a container's time stamps, which may be missing, repeated or wrong, to seconds that only ever grow."""

from __future__ import annotations

from math import inf

BACKWARDS = 1.0  # seconds; less is a decoder's disorder, more is another clock
STEP = 0.001  # seconds between two pictures that claim the same moment


class Timestamps:
    """Seconds from the first picture.

    Args:
        interval: seconds between pictures, as the header has it; used where a stamp is missing.
        leap: a gap longer than this is a jump of the clock. Infinite for containers that index their pictures, where a
            long gap means that a picture stands for long.
    """

    def __init__(self, interval: float = 0.04, leap: float = inf) -> None:
        self._interval = interval if 0.001 <= interval <= 2.0 else 0.04
        self._leap = leap
        self._last: float | None = None
        self._zero: float | None = None  # the stamp that stands for 0 seconds

    def place(self, stamp: float | None) -> tuple[float, float]:
        """The next picture's time, and by how many seconds its stamp jumped (0 almost always).

        After a jump the stream goes on from where it was.
        """
        expected = 0.0 if self._last is None else self._last + self._interval
        if stamp is None:
            self._last = expected
            return expected, 0.0
        if self._zero is None:
            self._zero = stamp - expected
        time, jump = stamp - self._zero, 0.0
        if self._last is not None:
            gap = time - self._last
            if gap < -BACKWARDS or gap > self._leap:
                time, jump = expected, time - expected
                self._zero = stamp - expected
            elif gap < STEP:
                time = self._last + STEP
            elif gap < 1.0:
                self._interval = gap
        self._last = time
        return time, jump
