"""One budget of attention for all streams: so many answers at a time, the most urgent first, nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serval.assistant.answers.answer import Answer, Answerer, Request

_PATIENCE = 5.0  # seconds of waiting that weigh as much as one step of an instruction's priority
_HALF = 60.0  # seconds after which attention that was given counts half


@dataclass(eq=False)
class _Waiting:
    stream: str
    priority: int
    since: float


@dataclass
class _Spent:
    seconds: float = 0.0
    at: float = 0.0


@dataclass
class Given:
    """What a stream got: turns, seconds of them, and seconds of waiting for them."""

    turns: int = 0
    seconds: float = 0.0
    waited: float = 0.0


@dataclass
class Attention:
    """See the module. Of equally urgent answers that of the stream goes first which had the least attention lately.

    Args:
        places: answers at a time.
    """

    places: int = 1
    now: Callable[[], float] = time.monotonic
    given: dict[str, Given] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._busy = 0
        self._spent: dict[str, _Spent] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def turn(self, stream: str, priority: int = 0) -> Iterator[None]:
        """Wait for a place, and hold it while the block runs."""
        mine = _Waiting(stream, priority, self.now())
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: self._busy < self.places and self._next() is mine)
            self._waiting.remove(mine)
            self._busy += 1
            self._changed.notify_all()
        began = self.now()
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                took = self.now() - began
                self._spent[stream] = _Spent(self._lately(stream) + took, self.now())
                record = self.given.setdefault(stream, Given())
                record.turns, record.seconds = record.turns + 1, record.seconds + took
                record.waited += began - mine.since
                self._changed.notify_all()

    def forget(self, stream: str) -> None:
        """A stream is over."""
        with self._changed:
            self._spent.pop(stream, None)
            self.given.pop(stream, None)

    def _next(self) -> _Waiting:
        now = self.now()
        return min(
            self._waiting,
            key=lambda each: (
                -each.priority - int((now - each.since) / _PATIENCE),
                self._lately(each.stream),
                each.since,
            ),
        )

    def _lately(self, stream: str) -> float:
        spent = self._spent.get(stream)
        return 0.0 if spent is None else spent.seconds * 0.5 ** ((self.now() - spent.at) / _HALF)


class SharedAnswerer:
    """An answerer whose answers take turns with those of other streams."""

    def __init__(self, answerer: Answerer, attention: Attention, stream: str) -> None:
        self._answerer, self._attention, self._stream = answerer, attention, stream
        self.name, self.models = answerer.name, answerer.models

    def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
        priority = request.instruction.priority if request.instruction else 5 if request.question else 0
        with self._attention.turn(self._stream, priority):
            return self._answerer.answer(request, cancelled)
