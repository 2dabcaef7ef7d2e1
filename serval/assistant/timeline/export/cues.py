"""When each thing said is shown as a caption, and for how long."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline.plain import one_line

SPOKEN = (EventKind.UTTERANCE, EventKind.ANSWER)
SHORTEST, LONGEST = 1.5, 7.0  # seconds a caption stands
LETTERS_A_SECOND = 15.0  # comfortable reading
OVERLAP = 1.0  # a caption stands at least so long, even when the next one has come


@dataclass(frozen=True)
class Cue:
    """A caption from ``start`` to ``end``, seconds on the run's clock. ``text`` is one clean line."""

    event: Event
    start: float
    end: float
    text: str


def caption(event: Event) -> str:
    """What was said, with what nobody vouches for marked as such."""
    text = one_line(event.text)
    more = one_line(event.unverified)
    return f"{text} (unverified: {more})" if more else text


def cues(events: Iterable[Event]) -> list[Cue]:
    """Captions for everything spoken, by start; each ends when the next of its source begins, or when it has been read."""
    spoken = [(event, caption(event)) for event in events if event.kind in SPOKEN and math.isfinite(event.said_at)]
    out: list[Cue] = []
    next_start: dict[str, float] = {}
    for event, text in sorted(spoken, key=lambda each: each[0].said_at, reverse=True):
        if not text:
            continue
        start = max(0.0, event.said_at)
        read = start + min(LONGEST, max(SHORTEST, len(text) / LETTERS_A_SECOND))
        end = max(start + OVERLAP, min(read, next_start.get(event.source, math.inf)))
        next_start[event.source] = start
        out.append(Cue(event, start, end, text))
    return out[::-1]
