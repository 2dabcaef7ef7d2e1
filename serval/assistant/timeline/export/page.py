"""A run as one self-contained HTML page: no scripts, no requests, every word escaped."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from serval.assistant.event import Event, EventKind, Evidence
from serval.assistant.timeline.export.cues import SPOKEN
from serval.assistant.timeline.export.hues import hue
from serval.assistant.timeline.export.sparkline import Strip, around, strips
from serval.assistant.timeline.picture import Picture
from serval.assistant.timeline.plain import clock, one_line
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline

SIDE = 880  # pixels; pictures are shown no larger
SHOWN = 3  # pictures of one event


@dataclass(frozen=True)
class Mark:
    """A box drawn over a picture, in per cent of it, so that it fits at any size; its label is text of one size always."""

    left: float
    top: float
    width: float
    height: float
    label: str
    colour: int
    label_x: float  # per cent
    ends: bool  # whether the label ends at `label_x` instead of beginning there
    shift: int  # pixels from `top` down to the label's foot
    shape: str  # the corners of the thing's outline as SVG has them, in fractions of the picture; empty where it has none


@dataclass(frozen=True)
class Shot:
    """A picture with its boxes. ``data`` is a data URL, empty when the picture is no longer kept."""

    time: float
    sha256: str
    width: int
    height: int
    data: Markup
    marks: tuple[Mark, ...]

    @property
    def tall(self) -> bool:
        return self.height > 0.62 * self.width


@dataclass(frozen=True)
class Card:
    """One entry of the page."""

    number: int
    event: Event
    spoken: bool
    shots: tuple[Shot, ...]
    missing: int  # pictures of its evidence that are not shown
    strip: Strip | None


def page(
    timeline: Timeline, recording: Recording | None, *, source: str | None = None, megabytes: float = 24.0, entries: int = 2000
) -> Iterator[str]:
    """The page of a run, piece by piece.

    Args:
        source: only this source.
        recording: where the pictures are; without it the page has none.
        megabytes: of pictures at most; those of later events are left out, and the page says so.
        entries: at most so many events; later ones are left out, and the page says so.
    """
    style = (Path(__file__).parent / "page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    total = timeline.count(source=source)
    yield from _template().generate(
        name=Path(timeline.name).parent.name or timeline.name,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=digest,
        info=timeline.info,
        spoken=sum(timeline.count(kind=kind, source=source) for kind in SPOKEN),
        total=total,
        left_out=max(0, total - entries),
        decisions=timeline.trace_count(source),
        span=timeline.span(),
        sources=(source,) if source else timeline.sources(),
        trimmed=timeline.trimmed,
        evicted=recording.evicted() if recording else (),
        strips=strips(timeline, source),
        cards=_cards(timeline, recording, source, int(megabytes * (1 << 20)), entries),
        kinds=EventKind,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else one_line(value),
    )
    environment.filters["clock"] = clock
    return environment.get_template("page.html")


def _cards(timeline: Timeline, recording: Recording | None, source: str | None, room: int, entries: int) -> Iterator[Card]:
    for number, event in enumerate(timeline.events(source=source, limit=entries), start=1):
        shots = []
        frames = _frames(event)
        for frame in frames[:SHOWN]:
            picture = recording.picture_named(frame) if recording and room > 0 else None
            if picture is not None:
                try:
                    shot = _shot(picture, [each for each in event.evidence if each.frame == frame])
                except ValueError:  # damaged: it counts as missing
                    continue
                room -= len(shot.data)
                shots.append(shot)
        spoken = event.kind in SPOKEN
        yield Card(number, event, spoken, tuple(shots), len(frames) - len(shots), around(timeline, event) if spoken else None)


def _frames(event: Event) -> list[str]:
    """Names of the frames its evidence lies in, those with boxes first, then by time."""
    boxed = {each.frame for each in event.evidence if each.box}
    times = {each.frame: each.time for each in reversed(event.evidence) if each.frame}
    return sorted(times, key=lambda frame: (frame not in boxed, times[frame]))


def _shot(picture: Picture, evidence: Iterable[Evidence]) -> Shot:
    """The picture made small enough, with a box for each thing seen in it; `ValueError` when it is damaged."""
    image = picture.open()
    jpeg, width, height = picture.jpeg, picture.width, picture.height
    if max(width, height) > SIDE:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=82)
        jpeg, width, height = file.getvalue(), image.width, image.height
    data = Markup("data:image/jpeg;base64,") + base64.b64encode(jpeg).decode()
    return Shot(picture.time, picture.sha256, width, height, data, _marks(evidence))


def _marks(evidence: Iterable[Evidence]) -> tuple[Mark, ...]:
    boxes = {each.box: each for each in evidence if each.box is not None}
    marks: list[Mark] = []
    for box, each in sorted(boxes.items(), key=lambda pair: -pair[0].area):  # small ones on top
        left, top, right, bottom = (100 * min(1.0, max(0.0, edge)) for edge in box)
        ends = left > 75
        x = right if ends else left
        beside = sum(mark.ends == ends and abs(mark.label_x - x) < 14 and abs(mark.top - top) < 6 for mark in marks)
        shift = 17 * beside + (16 if top < 12 else -6)
        label = one_line(f"“{each.text}”" if each.text else each.label)[:40]
        colour, shape = hue(each.label or "text"), " ".join(f"{x:.3f},{y:.3f}" for x, y in each.outline)
        marks.append(Mark(left, top, right - left, bottom - top, label, colour, x, ends, shift, shape))
    return tuple(marks)
