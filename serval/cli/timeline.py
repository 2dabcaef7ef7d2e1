"""`serval timeline`: the events of a run."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def timeline(
    run: Annotated[str, typer.Argument(help="Folder of the run, or postgresql://…?run=NAME.")],
    since: Annotated[str | None, typer.Option(help="From this moment of the run's clock on: 12.5 or 1:02:03.5.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this moment.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    kind: Annotated[Literal["utterance", "source", "instruction", "note", "answer"] | None, typer.Option(help="Only events of this kind.")] = None,
    instruction: Annotated[str | None, typer.Option(help="Only events for the instruction of this id.")] = None,
    text: Annotated[str | None, typer.Option(help="Only events with these words: said, seen or read.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the newest.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as JSON.")] = False,
) -> None:
    """List what happened in a run, in the order it was said.

    Examples:

        serval timeline runs/door

        serval timeline runs/door --text taxi --since 1:00 --json
    """
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from serval.assistant.event import EventKind
    from serval.assistant.timeline.export.cues import caption
    from serval.assistant.timeline.export.json_lines import json_lines
    from serval.assistant.timeline.plain import clock, one_line, seconds
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
            for line in json_lines(events):
                sys.stdout.write(line)
            return
        console = Console()
        if not console.is_terminal:
            for event in events:
                name = f" {one_line(event.instruction)}:" if event.instruction else ""
                typer.echo(f"[{clock(event.said_at)}] {one_line(event.source)}{name} {caption(event)}")
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("said at", justify="right", no_wrap=True)
        table.add_column("source", overflow="fold")
        table.add_column("for", overflow="fold")
        table.add_column("words", overflow="fold", ratio=1)
        table.add_column("score", justify="right", no_wrap=True)
        for event in events:
            spoken = event.kind in (EventKind.UTTERANCE, EventKind.ANSWER)
            name = event.instruction or event.kind.value
            cells = [clock(event.said_at), one_line(event.source), one_line(name), caption(event)]
            table.add_row(*map(Text, cells), Text(f"{event.score:.2f}" if spoken else ""), style="" if spoken else "dim")
        console.print(table)
