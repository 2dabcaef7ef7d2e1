"""What `serval watch` shows while it runs: a live panel on a terminal, plain lines or JSON lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from serval.assistant.event import Event, EventKind
from serval.assistant.station import Status
from serval.assistant.timeline.export.cues import caption
from serval.assistant.timeline.plain import clock, one_line

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: tuple[float, ...], width: int = 48) -> str:
    """The last ``width`` scores (0 to 1) as one bar each."""
    return "".join(BARS[round(max(0.0, min(1.0, value)) * (len(BARS) - 1))] for value in values[-width:])


def line(event: Event, several: bool) -> str:
    """One event as plain text: time, source where there are several, words."""
    words, source = caption(event), one_line(event.source)
    named = not source or (event.kind is EventKind.SOURCE and words.startswith(source))  # its notes begin with its name
    where = f" {source}:" if several and not named else ""
    mark = "" if event.kind is EventKind.UTTERANCE else "· "
    return f"[{clock(event.t_end)}]{where} {mark}{words}"


class LiveView:
    """Shows events as they come and, on a terminal, the state of the watch about four times a second.

    Args:
        mode: "live", "plain" or "json".
        names: instruction id -> its words.
        drops: source -> reason -> count, asked at every refresh.
        console: where it is shown.
    """

    def __init__(
        self,
        mode: str,
        names: dict[str, str],
        status: Callable[[], Status],
        drops: Callable[[], Mapping[str, Mapping[str, int]]],
        several: bool = False,
        console: Console | None = None,
    ) -> None:
        self._mode, self._names, self._status, self._drops, self._several = mode, names, status, drops, several
        self._began = time.monotonic()
        self._console = console or Console()
        self._live = Live(get_renderable=self.__rich__, console=self._console, refresh_per_second=4, transient=True)

    def shown(self) -> AbstractContextManager[object]:
        return self._live if self._mode == "live" else nullcontext()

    def event(self, event: Event) -> None:
        if self._mode == "json":
            sys.stdout.write(event.model_dump_json() + "\n")
            sys.stdout.flush()
        elif self._mode == "live":
            moment, _, words = line(event, self._several).partition("] ")
            said = event.kind is EventKind.UTTERANCE
            row = Table.grid(padding=(0, 1))  # what is long goes on beneath its words, not beneath the time
            row.add_row(Text(f"{moment}]", style="cyan" if said else "dim"), Text(words, style="bold" if said else "dim"))
            self._console.print(row)
        else:
            sys.stdout.write(line(event, self._several) + "\n")
            sys.stdout.flush()

    def __rich__(self) -> RenderableType:
        status = self._status()
        elapsed = max(1e-3, time.monotonic() - self._began)
        head = Table.grid(padding=(0, 2))
        for source, frames in status.frames.items():
            dropped = self._drops().get(source, {})
            lost = " ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()) if count)
            head.add_row(
                Text(source, style="bold cyan"),
                clock(status.time),
                f"{frames} frames, {status.looked.get(source, 0)} looked at",
                f"{frames / elapsed:.1f} fps",
                Text(f"dropped: {lost}" if lost else "no drops", style="yellow" if lost else "dim"),
            )
        gates = Table.grid(padding=(0, 2))
        for key, scores in status.scores.items():
            source, _, name = key.rpartition("/")
            label = self._names.get(name, name)
            gates.add_row(
                Text(f"{source}: {label}" if self._several else label, style="green", overflow="ellipsis", no_wrap=True),
                Text(sparkline(scores), style="magenta"),
                f"{scores[-1]:.2f}" if scores else "",
            )
        foot = Text(
            f"said {status.said} · answering {status.waiting} · answerer {status.answer_seconds:.1f} s"
            f" · memory {status.memory_bytes / 2**20:.1f} MB",
            style="dim",
        )
        return Panel(Group(head, gates, foot), title="serval watches", border_style="blue")
