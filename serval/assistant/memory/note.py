"""The written note that is left of things the memory had to give up: how many, what and when."""

from __future__ import annotations

from dataclasses import dataclass, field

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline.plain import clock

LABELS = 12  # labels told apart in one note; the rarest beyond that are only counted together
OTHERS = "other things"
SEVERAL = "several sources"


@dataclass(frozen=True)
class Seen:
    """How often something was told of, and when first and last. Nought times: it was only in a picture."""

    times: int
    first: float
    last: float

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.times + other.times, min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True)
class Note:
    """Counts, labels and times of events and pictures that are no longer held."""

    source: str
    since: float
    until: float
    events: int = 0
    pictures: int = 0
    labels: dict[str, Seen] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return 320 + 240 * len(self.labels)  # objects of a note and of a label, as `tracemalloc` counts them

    @property
    def text(self) -> str:
        """``0:05 to 4:10: 12 events, 8 pictures; person 5 times (0:05 to 3:55), car once (1:10)``."""
        parts = [_counted(self.events, "event")] * bool(self.events) + [_counted(self.pictures, "picture")] * bool(
            self.pictures
        )
        things = [f"{label}{_often(seen)}" for label, seen in self.labels.items()]
        return f"{_span(self.since, self.until)}: {', '.join(parts)}" + (f"; {', '.join(things)}" if things else "")

    def __add__(self, other: Note) -> Note:
        """One note for both; its labels stay few."""
        labels = dict(self.labels)
        for label, seen in other.labels.items():
            labels[label] = labels[label] + seen if label in labels else seen
        ranked = sorted(labels.items(), key=lambda each: (each[0] != OTHERS, each[1].times), reverse=True)
        kept = dict(ranked[:LABELS])
        for _, seen in ranked[LABELS:]:
            kept[OTHERS] = kept[OTHERS] + seen if OTHERS in kept else seen
        return Note(
            source=self.source if self.source == other.source else SEVERAL,
            since=min(self.since, other.since),
            until=max(self.until, other.until),
            events=self.events + other.events,
            pictures=self.pictures + other.pictures,
            labels=kept,
        )

    def event(self) -> Event:
        """The note as an entry for the timeline."""
        return Event(
            id=f"note-{self.source}-{self.since:.3f}-{self.until:.3f}-{self.events}-{self.pictures}",
            kind=EventKind.NOTE,
            source=self.source,
            t_start=self.since,
            t_end=self.until,
            said_at=self.until,
            text=self.text,
            data={"events": self.events, "pictures": self.pictures, "labels": {k: v.times for k, v in self.labels.items()}},
        )


def labels_of(event: Event) -> tuple[str, ...]:
    """What an event is about: its facts' subjects and the labels of its evidence, else its kind. Never text it read."""
    names = [fact.subject for fact in event.facts] + [evidence.label for evidence in event.evidence]
    return tuple(dict.fromkeys(name[:40] for name in names if name)) or (event.kind.value,)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _often(seen: Seen) -> str:
    if not seen.times:
        return ""
    return f" {'once' if seen.times == 1 else f'{seen.times} times'} ({_span(seen.first, seen.last)})"


def _span(since: float, until: float) -> str:
    first, last = _clock(since), _clock(until)
    return first if first == last else f"{first} to {last}"


def _clock(seconds: float) -> str:
    """Tenths are more than a note knows."""
    return clock(seconds).partition(".")[0]
