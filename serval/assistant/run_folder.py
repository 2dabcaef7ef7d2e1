"""Where a run is kept."""

from __future__ import annotations

import re
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
