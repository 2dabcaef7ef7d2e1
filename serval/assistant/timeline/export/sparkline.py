"""Gate scores over time as small vector drawings."""

from __future__ import annotations

from dataclasses import dataclass

from serval.assistant.event import Event
from serval.assistant.timeline.export.cues import SPOKEN
from serval.assistant.timeline.timeline import Timeline

WIDTH, HEIGHT = 600.0, 40.0  # of the drawing, in its own units
BINS = 300  # columns; each shows the highest score in it
STRIPS = 24  # at most so many; the rest is counted
MARKS = 400  # at most so many events are marked on one strip
AROUND = 6.0  # seconds shown before and after one event


@dataclass(frozen=True)
class Strip:
    """Scores of one gate for one instruction on one source. The curve and heights are in drawing units, y down."""

    source: str
    instruction: str
    gate: str
    since: float
    until: float
    curve: str  # points of the scores
    first: float  # where the curve begins and ends
    last: float
    threshold: float  # height of the line to pass
    marks: tuple[tuple[float, int], ...]  # where something was said: x, and the entry's number

    @property
    def width(self) -> float:
        return WIDTH

    @property
    def height(self) -> float:
        return HEIGHT


@dataclass
class _Columns:
    gate: str
    threshold: float
    peaks: list[float]  # -1 where no frame was examined


def strips(timeline: Timeline, source: str | None = None) -> tuple[tuple[Strip, ...], int]:
    """One strip for each source and instruction over the whole run, and how many more there would be."""
    span = timeline.span()
    if span is None:
        return (), 0
    marks: dict[tuple[str, str | None], list[tuple[float, int]]] = {}
    for number, event in enumerate(timeline.events(source=source), start=1):
        here = marks.setdefault((event.source, event.instruction), [])
        if event.kind in SPOKEN and len(here) < MARKS:
            here.append((_x(event.said_at, *span), number))
    columns = _columns(timeline, *span, source=source)
    keys = sorted(columns, key=lambda key: (key[0], key[1] or ""))
    drawn = [_strip(key, columns[key], *span, tuple(marks.get(key, ()))) for key in keys[:STRIPS]]
    return tuple(drawn), max(0, len(keys) - STRIPS)


def around(timeline: Timeline, event: Event) -> Strip | None:
    """The gate's scores just before and after one event; None when none are kept."""
    since, until = event.t_end - AROUND, event.t_end + AROUND
    columns = _columns(timeline, since, until, source=event.source, instruction=event.instruction)
    key = (event.source, event.instruction)
    return _strip(key, columns[key], since, until, ((_x(event.t_end, since, until), 0),)) if key in columns else None


def _columns(
    timeline: Timeline, since: float, until: float, *, source: str | None = None, instruction: str | None = None
) -> dict[tuple[str, str | None], _Columns]:
    columns: dict[tuple[str, str | None], _Columns] = {}
    for row in timeline.traced(since=since, until=until, source=source, instruction=instruction):
        here = columns.setdefault((row.source, row.instruction), _Columns(row.gate, row.threshold, [-1.0] * BINS))
        place = min(BINS - 1, int(_x(row.time, since, until) / WIDTH * BINS))
        here.peaks[place] = max(here.peaks[place], row.score)
        here.gate, here.threshold = row.gate, row.threshold
    return columns


def _strip(
    key: tuple[str, str | None], columns: _Columns, since: float, until: float, marks: tuple[tuple[float, int], ...]
) -> Strip:
    known = [(place, peak) for place, peak in enumerate(columns.peaks) if peak >= 0]
    points = " ".join(f"{(place + 0.5) * WIDTH / BINS:.1f},{_y(peak):.1f}" for place, peak in known)
    first, last = ((known[place][0] + 0.5) * WIDTH / BINS for place in (0, -1))
    return Strip(key[0], key[1] or "", columns.gate, since, until, points, first, last, _y(columns.threshold), marks)


def _x(time: float, since: float, until: float) -> float:
    return WIDTH * min(1.0, max(0.0, (time - since) / max(until - since, 1e-9)))


def _y(score: float) -> float:
    return HEIGHT - 2.0 - (HEIGHT - 6.0) * min(1.0, max(0.0, score))
