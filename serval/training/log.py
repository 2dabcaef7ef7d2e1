"""What a run tells: a line of JSON for each step, TensorBoard's files where that is installed, a bar on a terminal."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from serval.training.checkpoint import writing

logger = logging.getLogger(__name__)


class RunLog:
    """``log.jsonl`` of a run, and ``tensorboard/`` where the package is there.

    Args:
        at: bytes of the file that count, when a run goes on: what was logged after its checkpoint happens again.
        step: of all stages, of which TensorBoard is told the same.
    """

    def __init__(self, folder: Path, at: int = 0, step: int = 0) -> None:
        with writing("log.jsonl"):
            self._file = (folder / "log.jsonl").open("ab")
            self._file.truncate(at)
            self._file.seek(at)
        self._board: Any = None
        if find_spec("tensorboard") is None:
            logger.info("TensorBoard is not installed: the log is in log.jsonl alone")
        else:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, step: int, entry: Mapping[str, Any]) -> None:
        with writing("log.jsonl"):
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        if self._board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{entry['stage']}/{name}", value, step)

    def position(self) -> int:
        """Bytes so far, all of them on the disk."""
        with writing("log.jsonl"):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


class Bar:
    """The steps of a stage on a terminal: loss, steps a second, and how long it will take. Elsewhere nothing."""

    def __init__(self, progress: Progress, name: str, done: int, steps: int) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=steps, completed=done, loss="", speed="")

    def step(self, loss: float) -> None:
        self._progress.advance(self._task)
        speed = self._progress.tasks[self._task].speed
        self._progress.update(self._task, loss=f"{loss:.4f}", speed=f"{speed:.2f} steps/s" if speed else "")


@contextmanager
def bars(console: Console | None) -> Iterator[Progress]:
    """Where the bars are shown; without a console, or where that is no terminal, nowhere."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    shown = console is not None and console.is_terminal
    with Progress(*columns, console=console, disable=not shown) as progress:
        yield progress
