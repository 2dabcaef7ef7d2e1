"""How much one person, one address and all together may ask of the service."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_REMEMBERED = 10_000  # people and addresses whose buckets are at hand


@dataclass(frozen=True)
class Limits:
    """Caps of a service; none of them can be switched off.

    Attributes:
        requests: a minute, of a person, and of an address that has shown no key that is right.
        refused: wrong keys a minute from one address, after which it waits.
        body: bytes of a request.
        message: bytes of a message on a socket.
        sockets: of a person at a time, and ``all_sockets`` of everybody.
        streams: of a person at a time, and ``all_streams`` of everybody.
        instructions: of a stream.
        idle: seconds after which a silent connection or a body that does not come is given up.
        events: that wait for a reader who is slow; the oldest are left out.
    """

    requests: int = 600
    refused: int = 20
    body: int = 32 * 2**20
    message: int = 4 * 2**20
    sockets: int = 16
    all_sockets: int = 12_000
    streams: int = 8
    all_streams: int = 32
    instructions: int = 50
    idle: float = 60.0
    events: int = 256


class Rate:
    """A bucket for each name, that fills by ``per_minute`` and holds as many. Of many names the longest unseen go first."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = float(per_minute), now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def take(self, name: str) -> bool:
        """One more from ``name``; False if that is too many."""
        left = self.left(name)
        if left < 1:
            return False
        self._buckets[name] = (left - 1, self._now())
        self._buckets.move_to_end(name)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return True

    def left(self, name: str) -> float:
        left, seen = self._buckets.get(name, (self._most, 0.0))
        return min(self._most, left + (self._now() - seen) * self._most / 60)


class Places:
    """How many of something are open, by name and in all."""

    def __init__(self, each: int, everybody: int) -> None:
        self._each, self._all = each, everybody
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    def full(self, name: str) -> bool:
        """Whether there is none left."""
        return self._taken[name] >= self._each or self.taken >= self._all

    @contextmanager
    def place(self, name: str) -> Iterator[bool]:
        """Hold one while the block runs; False where there is none left."""
        free = not self.full(name)
        if free:
            self._taken[name] += 1
        try:
            yield free
        finally:
            if free:
                self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]
