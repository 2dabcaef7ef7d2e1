"""From what a person types to a source: a file, a directory, a part's file, ``camera:0``, ``rtsp://`` or ``http(s)://``."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from serval.media.limits import MediaLimits
from serval.media.local_file import printable
from serval.refusal import Refusal
from serval.sources.clock import Clock
from serval.sources.file import FileSource
from serval.sources.images import ImagesSource
from serval.sources.live import address_kind, open_live, safe_name
from serval.sources.source import Source
from serval.weights import locate
from serval.weights.manifest import manifest

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)(:|,,)", re.IGNORECASE)
_FORMS = "give a file, a directory, camera:0, rtsp://… or http(s)://…"


def source_name(text: str) -> str:
    """A short name for a source, without path, user or password: ``/videos/Front Door.mp4`` -> ``Front-Door``."""
    path = Path(text.rpartition(":")[2])
    stem = safe_name(text) if address_kind(text) else path.stem if path.stem.strip(".") else path.absolute().parts[-1]
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "source"


def open_source(
    text: str, *, clock: Clock, fps: float, limits: MediaLimits | None = None, taken: Collection[str] = ()
) -> Source:
    """Open what ``text`` names. Only a person's own words reach this, never a picture's or a file's.

    Args:
        clock: of the run; live sources stamp their pictures with it.
        fps: at which a directory of pictures is shown.
        taken: names of other sources; this one's is made different.

    Raises:
        Refusal: nothing that can be watched.
    """
    if not text.strip():
        raise Refusal("source", "it is empty", _FORMS)
    name = _unique(source_name(text), taken)
    if address_kind(text):
        return open_live(text, name, clock=clock, limits=limits)
    path = Path(text)
    here = _look(path)
    if here == "directory":
        return ImagesSource(path, name, fps=fps, limits=limits)
    if not here and (scheme := _SCHEME.match(text)):
        part, _, file = text.partition(":")
        if part not in manifest():
            # What follows may hold a password.
            raise Refusal(f"{printable(scheme[1])}{scheme[2]}…", f"{printable(scheme[1])} is not a kind of source", _FORMS)
        path = locate(part, file)
    return FileSource(path, name, limits)


def _look(path: Path) -> str:
    """What stands at a path: "directory", "file", or "" for nothing that can be seen."""
    try:
        return "directory" if path.is_dir() else "file" if path.exists() else ""
    except OSError:  # too long a name, or a directory that may not be entered
        return ""


def _unique(name: str, taken: Collection[str]) -> str:
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate
