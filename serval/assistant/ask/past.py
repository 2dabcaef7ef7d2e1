"""The past of a run as a list of sightings, rebuilt from its recording by the same perception that watched it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from serval.assistant.event import Event, Evidence
from serval.assistant.view import View
from serval.media.box import Box

GAP = 1.6  # seconds without a sighting after which "it was there" ends; the calm detector looks twice a second


@dataclass(frozen=True)
class Sighting:
    """One thing in one examined frame."""

    time: float
    source: str
    label: str  # object label, or "text"
    box: Box | None
    score: float
    frame: str
    track: int | None = None
    text: str = ""

    def evidence(self) -> Evidence:
        return Evidence(
            time=self.time,
            frame=self.frame,
            source=self.source,
            box=self.box,
            label=self.label,
            score=self.score,
            text=self.text,
        )


@dataclass(frozen=True)
class Span:
    """A stretch of time in which something was in view."""

    start: float
    end: float
    sightings: tuple[Sighting, ...]

    @property
    def most(self) -> int:
        """Most that were in view in any one frame."""
        frames: dict[tuple[str, float], int] = {}
        for each in self.sightings:
            frames[each.source, each.time] = frames.get((each.source, each.time), 0) + 1
        return max(frames.values())


@dataclass
class Past:
    """Sightings and events in order of time, and the written notes of what had to be forgotten."""

    sightings: list[Sighting] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)
    start: float = 0.0
    end: float = 0.0

    def add_view(self, view: View, text_score: float = 0.8) -> None:
        """Keep what was settled in one examined frame."""
        percept = view.percept
        here = (view.time, view.source)
        self.sightings += [
            Sighting(*here, track.label, track.box, track.score, percept.sha256, track=track.id)
            for track in view.tracks
            if track.settled and track.last_seen >= view.time - 1e-6
        ]
        self.sightings += [
            Sighting(*here, "text", line.box, line.score, percept.sha256, text=line.text)
            for line in percept.text or ()
            if line.score >= text_score
        ]
        self.end = max(self.end, view.time)

    def between(self, after: float | None, before: float | None, source: str | None = None) -> list[Sighting]:
        low, high = after if after is not None else float("-inf"), before if before is not None else float("inf")
        return [each for each in self.sightings if low <= each.time <= high and source in (None, each.source)]


def spans(sightings: Iterable[Sighting], gap: float = GAP) -> list[Span]:
    """Group sightings of one thing into stretches of time, per source."""
    out: list[Span] = []
    by_source: dict[str, list[Sighting]] = {}
    for each in sightings:
        by_source.setdefault(each.source, []).append(each)
    for group in by_source.values():
        group.sort(key=lambda each: each.time)
        run: list[Sighting] = []
        for each in group:
            if run and each.time - run[-1].time > gap:
                out.append(Span(run[0].time, run[-1].time, tuple(run)))
                run = []
            run.append(each)
        out.append(Span(run[0].time, run[-1].time, tuple(run)))
    return sorted(out, key=lambda span: span.start)
