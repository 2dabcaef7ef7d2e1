"""Events as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from serval.assistant.event import Event
from serval.assistant.timeline.export.cues import SPOKEN, caption
from serval.assistant.timeline.plain import clock, one_line


def listing(events: Iterable[Event]) -> RenderableType:
    """A row for each event: when it happened and was said, where, for which instruction, its words, score and evidence."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("happened", justify="right", no_wrap=True)
    table.add_column("said at", justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    table.add_column("for", overflow="fold")
    table.add_column("words", overflow="fold", ratio=1)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("evidence", justify="right", no_wrap=True)
    for event in events:
        spoken = event.kind in SPOKEN
        happened = clock(event.t_start)
        if clock(event.t_end) != happened:
            happened += f" to {clock(event.t_end)}"
        name = event.instruction or event.kind.value
        cells = [happened, clock(event.said_at), one_line(event.source), one_line(name), caption(event)]
        score = f"{event.score:.2f}" if spoken else ""
        evidence = str(len(event.evidence)) if event.evidence else ""
        table.add_row(*map(Text, [*cells, score, evidence]), style="" if spoken else "dim")
    return table if table.row_count else Text("Nothing.", style="dim")
