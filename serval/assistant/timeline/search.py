"""Which events are meant: by time, source, kind, instruction and words."""

from __future__ import annotations

from typing import TypedDict

from sqlalchemy import ColumnElement

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline.schema import events


class Wanted(TypedDict, total=False):
    """Which events. ``since`` and ``until`` are seconds on the run's clock: an event counts when any of it lies between.
    ``text`` is found, whatever its case, in what was said and in labels and text read in the picture."""

    since: float | None
    until: float | None
    source: str | None
    kind: EventKind | None
    instruction: str | None
    text: str | None


def conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    """The same as conditions of a query."""
    out: list[ColumnElement[bool]] = []
    if (since := wanted.get("since")) is not None:
        out.append(events.c.t_end >= since)
    if (until := wanted.get("until")) is not None:
        out.append(events.c.t_start <= until)
    exact = {name: wanted.get(name) for name in ("source", "kind", "instruction")}
    out += [events.c[name] == str(value) for name, value in exact.items() if value is not None]
    if text := wanted.get("text"):
        out.append(events.c.words.contains(text.casefold(), autoescape=True))
    return out


def words(event: Event) -> str:
    """Everything in an event that a person might look for, case-folded."""
    parts = [event.text, event.unverified]
    for fact in event.facts:
        parts += [fact.subject, fact.object, fact.action, fact.place, fact.text]
    parts += [part for evidence in event.evidence for part in (evidence.label, evidence.text)]
    return "\n".join(dict.fromkeys(parts)).casefold().replace("\0", "")  # PostgreSQL takes no NUL
