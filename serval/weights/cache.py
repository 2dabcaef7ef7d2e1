"""The cache of installed parts: where files are, and the check of their hashes at every load."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from serval.refusal import Refusal
from serval.weights.manifest import Part, part_named

INSTALLED = "installed.json"
_checked: dict[tuple[str, int, int], str] = {}  # (path, size, mtime_ns) -> sha256 found in this process


class PartMissing(Refusal):
    """A part that is not on this machine. Whoever needs it goes on without the ability, and says so."""


def cache_folder() -> Path:
    """``$SERVAL_CACHE``, else ``$XDG_CACHE_HOME/serval``, else ``~/.cache/serval``."""
    if chosen := os.environ.get("SERVAL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serval"


def part_folder(part: Part) -> Path:
    return cache_folder() / "weights" / part.folder


def installed(part: Part) -> dict[str, str] | None:
    """File name -> sha256 as written when the part was installed; None when it is not."""
    try:
        content = json.loads((part_folder(part) / INSTALLED).read_text("utf-8"))
        return {str(name): str(digest) for name, digest in content["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def locate(part: str, file: str = "") -> Path:
    """The path of a part's file, after its bytes were checked against the hash it was installed with.

    Args:
        part: a name of the manifest, or ``hub:owner/name@revision``.
        file: its name in the part; "" for the folder, whose files are then checked as they are used.

    Raises:
        PartMissing: not installed.
        Refusal: no such part or file, or a file that is not what was installed.
    """
    known = part_named(part)
    hashes = installed(known)
    if hashes is None:
        raise PartMissing(f"part {part}", "it is not on this machine", f"run: serval weights fetch {part}")
    folder = part_folder(known)
    if not file:
        return folder / "tree" if known.tree else folder
    if file not in hashes:
        raise Refusal(f"part {part}", f"it has no file {file}", f"run: serval weights fetch {part}")
    path = folder / file
    pinned = {each.name: each.sha256 for each in known.files}.get(file, hashes[file])
    try:
        found = hash_of(path)
    except OSError:
        raise PartMissing(f"part {part}", f"its file {file} cannot be read", f"run: serval weights fetch {part}") from None
    if found != pinned:
        why = f"its file {file} is not what was installed (damaged or changed)"
        raise Refusal(f"part {part}", why, f"run: serval weights fetch {part}")
    return path


def model_id(part: str) -> str:
    """Name, version and the first digits of a hash over all its files, by which events name what they rest on."""
    known = part_named(part)
    hashes = installed(known) or {}
    digest = hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()
    return f"{known.name} {known.version[:12]} ({digest[:8]})"


def hash_of(path: Path) -> str:
    """SHA-256 of a file, reckoned once in a process for as long as its size and time stay the same."""
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns)
    if key not in _checked:
        with path.open("rb") as file:
            _checked[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _checked[key]
