"""What the watcher remembers about each source, and what it shows of itself."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from serval.assistant.desk import Wake
from serval.assistant.perception import Perception
from serval.assistant.view import Change, View
from serval.assistant.watch import Watch

_REMEMBERED = 3  # utterances of a source that the next one may not repeat word for word
_PICTURES = 256  # looked-at frames whose names are at hand, for what is told later than it happened


@dataclass
class Pending:
    """A wake that still gathers changes, so that what happens together is told in one sentence."""

    wake: Wake
    because: list[Change]


@dataclass
class Station:
    """Everything remembered about one source."""

    perception: Perception
    watches: list[Watch]
    pending: dict[str, Pending] = field(default_factory=dict)
    wakes: Counter[str] = field(default_factory=Counter)
    found: dict[str, Counter[str]] = field(default_factory=dict)  # what the last wake without a change found
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))  # its last utterances, newest last
    pictures: dict[float, str] = field(default_factory=dict)  # time -> sha256 of the last frames that were looked at
    frames: int = 0
    looked: int = 0
    view: View | None = None

    def looked_at(self, time: float, sha256: str) -> None:
        """Keep the name of a frame that was looked at."""
        self.looked += 1
        self.pictures[time] = sha256
        if len(self.pictures) > _PICTURES:
            del self.pictures[next(iter(self.pictures))]


@dataclass(frozen=True)
class Status:
    """What a display shows; a snapshot."""

    time: float
    frames: dict[str, int]
    looked: dict[str, int]
    scores: dict[str, tuple[float, ...]]  # instruction id -> its last gate scores
    waiting: int
    memory_bytes: int
    answer_seconds: float
    answered: int  # wakes that an answerer worked on
    said: int
