"""Where a run is kept."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from serval.assistant.timeline.recording import FILE as RECORDING
from serval.assistant.timeline.timeline import FILE as TIMELINE
from serval.refusal import Refusal


def fresh_folder(wanted: Path | None, name: str, started: datetime) -> Path:
    """A folder for a new run: ``wanted``, or one under ``runs/`` named after its source and time.

    A folder that holds a run already is left alone, and the new run gets its name with a number.

    Raises:
        Refusal: the folder cannot be made.
    """
    base = wanted or Path("runs") / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}-{started:%Y%m%d-%H%M%S}"
    folder, number = base, 2
    while (folder / TIMELINE).exists() or (folder / RECORDING).exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise Refusal(str(folder), "the run folder cannot be made there", "give another one with --run") from None
    return folder


def forget(folder: Path) -> None:
    """Take away a run in which nothing was seen, and the folders that were made for it; what else is there stays."""
    for name in (TIMELINE, RECORDING):
        for tail in ("", "-wal", "-shm", "-journal"):
            (folder / (name + tail)).unlink(missing_ok=True)
    with suppress(OSError):  # it holds something else
        folder.rmdir()
        if folder.parent == Path("runs"):
            folder.parent.rmdir()
