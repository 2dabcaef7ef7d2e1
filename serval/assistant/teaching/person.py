"""Where what a person taught is kept: apart from runs, which are about places, and from parts, which are everybody's."""

from __future__ import annotations

import os
from pathlib import Path

TAUGHT, THUMBS = "taught.json", "thumbs.json"


def person_folder() -> Path:
    """``$SERVAL_DATA``, else ``$XDG_DATA_HOME/serval``, else ``~/.local/share/serval``. It need not exist."""
    if chosen := os.environ.get("SERVAL_DATA"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "serval"
