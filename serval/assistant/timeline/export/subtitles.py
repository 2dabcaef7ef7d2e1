"""SubRip and WebVTT. Text read in a picture can never become markup, timing or a new cue."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator

from serval.assistant.event import Event
from serval.assistant.timeline.export.cues import Cue, cues
from serval.assistant.timeline.plain import one_line

WIDTH = 42  # letters on a line, the usual limit for captions
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "{": "❴", "}": "❵", "\\": "∖"})  # SubRip has no way to escape its tags


def srt(events: Iterable[Event]) -> Iterator[str]:
    """SubRip, a cue at a time; with several sources each line begins with the name of its own."""
    captions = cues(events)
    several = len({cue.event.source for cue in captions}) > 1
    for number, cue in enumerate(captions, start=1):
        text = f"{one_line(cue.event.source)}: {cue.text}" if several else cue.text
        lines = _wrapped(text.translate(_LOOKALIKES))
        yield f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{lines}\n\n"


def webvtt(events: Iterable[Event]) -> Iterator[str]:
    """WebVTT, a cue at a time: named by its event, out of the way of what it is about, its source as the voice."""
    captions = cues(events)
    several = len({cue.event.source for cue in captions}) > 1
    yield "WEBVTT\n\n"
    for cue in captions:
        name = html.escape(one_line(cue.event.id), quote=False)  # an arrow in it would be taken for the timing
        text = "\n".join(html.escape(line, quote=False) for line in _wrapped(cue.text).splitlines())
        voice = f"<v {html.escape(one_line(cue.event.source), quote=False) or 'source'}>" if several else ""
        settings = f"line:{'10%' if _low(cue) else '-2'} position:50% size:90% align:center"
        yield f"{name}\n{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')} {settings}\n{voice}{text}\n\n"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, break_on_hyphens=False))


def _low(cue: Cue) -> bool:
    """Whether the evidence lies in the lower half of the picture, where the caption would hide it."""
    bottoms = [evidence.box.center[1] for evidence in cue.event.evidence if evidence.box is not None]
    return bool(bottoms) and sum(bottoms) / len(bottoms) > 0.6


def _stamp(seconds: float, mark: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
