"""Events as JSON Lines: one event a line, in ASCII, so that no reader splits a line anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from serval.assistant.event import Event
from serval.refusal import Refusal


def json_lines(events: Iterable[Event]) -> Iterator[str]:
    """A line for each event, with its line end."""
    for event in events:
        yield json.dumps(event.model_dump(mode="json"), allow_nan=False) + "\n"


def read_json_lines(lines: Iterable[str], name: str = "JSON Lines") -> Iterator[Event]:
    """Events back from their lines; empty lines are passed over.

    Raises:
        Refusal: a line is not an event.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield Event.model_validate_json(line)
            except ValidationError:
                raise Refusal(f"{name}, line {number}", "this is not an event", "export the timeline again") from None
