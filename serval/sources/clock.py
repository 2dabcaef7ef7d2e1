"""Time that runs by itself, and time that a test moves."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the clock was made."""
        ...

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait ``seconds``, or less when ``stop`` is set; True when it was set."""
        ...


class RealClock:
    """The machine's monotonic clock, from 0."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def restart(self) -> None:
        """Begin at 0 again; before anybody else looks at it."""
        self._start = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._start

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        if stop is not None:
            return stop.wait(max(0.0, seconds))
        time.sleep(max(0.0, seconds))
        return False


class VirtualClock:
    """A clock without waiting: a sleep moves the time at once.

    With ``held=True`` sleepers wait, in real threads, until somebody calls `advance` far enough, so that a test decides
    when each of them goes on.
    """

    def __init__(self, start: float = 0.0, *, held: bool = False) -> None:
        self._now, self._held = start, held
        self._moved = threading.Condition()
        self._sleepers: list[float] = []  # when each one will wake

    def now(self) -> float:
        with self._moved:
            return self._now

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        with self._moved:
            due = self._now + max(0.0, seconds)
            if not self._held:
                self._now = due
                return stop is not None and stop.is_set()
            self._sleepers.append(due)
            self._moved.notify_all()
            try:
                while self._now < due and not (stop is not None and stop.is_set()):
                    self._moved.wait(0.01)  # the stop event belongs to others and cannot notify us
            finally:
                self._sleepers.remove(due)
            return stop is not None and stop.is_set()

    def advance(self, seconds: float) -> None:
        """Move the time and wake whoever is due."""
        with self._moved:
            self._now += seconds
            self._moved.notify_all()

    def wait_for_sleepers(self, count: int, timeout: float = 10.0) -> None:
        """Return when ``count`` threads are asleep beyond the present moment; raise TimeoutError if they never are."""
        with self._moved:
            if not self._moved.wait_for(lambda: sum(due > self._now for due in self._sleepers) >= count, timeout):
                raise TimeoutError(f"{count} sleepers were expected, {len(self._sleepers)} came")
