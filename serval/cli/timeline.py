"""`serval timeline`: the events of a run."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def timeline(
    run: Annotated[str, typer.Argument(help="Folder of the run, or postgresql://…?run=NAME.")],
    since: Annotated[str | None, typer.Option(help="From this moment of the run's clock on: 12.5 or 1:02:03.5.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this moment.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    kind: Annotated[
        Literal["utterance", "source", "instruction", "note", "answer"] | None, typer.Option(help="Only events of this kind.")
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="Only events for the instruction of this id.")] = None,
    text: Annotated[str | None, typer.Option(help="Only events with these words: said, seen or read.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the newest.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
) -> None:
    """List what happened in a run, in the order it was said.

    Examples:

        serval timeline runs/door

        serval timeline runs/door --kind utterance --limit 20

        serval timeline runs/door --text taxi --since 1:00 --json
    """
    import sys

    from rich.console import Console

    from serval.assistant.event import EventKind
    from serval.assistant.timeline.export.json_lines import json_lines
    from serval.assistant.timeline.listing import listing
    from serval.assistant.timeline.plain import seconds
    from serval.assistant.timeline.timeline import Timeline

    with Timeline.open(run, write=False) as opened:
        events = opened.events(
            since=None if since is None else seconds(since),
            until=None if until is None else seconds(until),
            source=source,
            kind=None if kind is None else EventKind(kind),
            instruction=instruction,
            text=text,
            limit=limit,
            newest_first=limit is not None,
        )
        if limit is not None:
            events = reversed(list(events))
        if json:
            sys.stdout.writelines(json_lines(events))
            return
        console = Console()
        if not console.is_terminal:
            console = Console(width=140)  # a pipe has no width of its own
        console.print(listing(events))
