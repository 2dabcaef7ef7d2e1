"""The cache of installed parts: where files are, and the check of their hashes at every load."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from serval.refusal import Refusal
from serval.weights.manifest import Part, part_named, printable

INSTALLED = "installed.json"
State = tuple[int, int]  # a file's size in bytes and time of change in ns


@dataclass(frozen=True)
class Record:
    """What was written when a part was installed. Names are relative to its folder, with ``/`` between their parts."""

    hashes: dict[str, str]
    states: dict[str, State] = field(default_factory=dict)


_checked: dict[tuple[str, State], str] = {}  # sha256 found in this process
_records: dict[tuple[str, State], Record] = {}  # a folder of ten thousand pictures is not parsed anew for each


class PartMissing(Refusal):
    """A part that is not on this machine. Whoever needs it goes on without the ability, and says so."""


def cache_folder() -> Path:
    """``$SERVAL_CACHE``, else ``$XDG_CACHE_HOME/serval``, else ``~/.cache/serval``."""
    if chosen := os.environ.get("SERVAL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serval"


def part_folder(part: Part) -> Path:
    """Where a part lies, or would."""
    return cache_folder() / "weights" / part.folder


def installed(part: Part) -> Record | None:
    """What was installed; None when nothing was, or its record cannot be read."""
    path = part_folder(part) / INSTALLED
    try:
        key = (str(path), state_of(path))
        if key not in _records:
            content = json.loads(path.read_text("utf-8"))
            hashes = {str(name): str(digest) for name, digest in content["files"].items()}
            states = {str(name): (int(size), int(changed)) for name, (size, changed) in content.get("states", {}).items()}
            _records[key] = Record(hashes, states)
        return _records[key]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def hub_parts() -> list[str]:
    """The hub models on this machine, as a person names them."""
    names = []
    for path in sorted((cache_folder() / "weights").glob(f"hub.*/{INSTALLED}")):
        try:
            content = json.loads(path.read_text("utf-8"))
            name = f"hub:{content['package']}@{content['version']}"
            if installed(part_named(name)) is not None:
                names.append(name)
        except (OSError, ValueError, KeyError, TypeError, Refusal):
            continue
    return names


def locate(part: str, file: str = "") -> Path:
    """The path of a part's file, after its bytes were checked against the hash it was installed with.

    Args:
        part: a name of the manifest, or ``hub:owner/name@revision``.
        file: its name in the part (for a part that is a tree, its path in the tree). "" for the folder itself, to ask whether
            the part is here: nothing in it is checked then.

    Raises:
        PartMissing: not installed.
        Refusal: no such part or file, or a file that is not what was installed.
    """
    known = part_named(part)
    remedy = f"run: serval weights fetch {part}"
    record = installed(known)
    if record is None:
        raise PartMissing(f"part {part}", "it is not on this machine", remedy)
    folder = part_folder(known)
    if not file:
        return folder / "tree" if known.tree else folder
    name = f"tree/{file}" if known.tree and file not in record.hashes else file
    if name not in record.hashes:
        raise Refusal(f"part {part}", f"it has no file {printable(file)}", remedy)
    path = folder / name
    pinned = {each.name: each.sha256 for each in known.files}.get(name, record.hashes[name])
    try:
        found = hash_of(path)
    except OSError:
        raise PartMissing(f"part {part}", f"its file {file} cannot be read", remedy) from None
    if found != pinned:
        raise Refusal(f"part {part}", f"its file {file} is not what was installed (damaged or changed)", remedy)
    return path


def model_id(part: str) -> str:
    """Name, version and the first digits of a hash over all its files, by which events name what they rest on.

    Raises:
        PartMissing: not installed.
    """
    known = part_named(part)
    record = installed(known)
    if record is None:
        raise PartMissing(f"part {part}", "it is not on this machine", f"run: serval weights fetch {part}")
    digest = hashlib.sha256(json.dumps(sorted(record.hashes.items())).encode()).hexdigest()
    return f"{known.name} {known.version[:12]} ({digest[:8]})"


def broken(part: Part, *, quick: bool = False) -> tuple[str, ...]:
    """Names of the part's files that are missing or not what was installed; all of them when it was not.

    ``quick`` believes a file whose size and time of change are as they were written down; the others are hashed.
    """
    record = installed(part)
    if record is None:
        return tuple(each.name for each in part.files) or (part.tree or part.package,)
    wanted = {**dict.fromkeys(part.converted, ""), **record.hashes, **{each.name: each.sha256 for each in part.files}}
    folder, out = part_folder(part), []
    for name, digest in wanted.items():
        state = record.states.get(name) if quick else None
        if record.hashes.get(name) != digest or not _whole(folder / name, digest, state):
            out.append(name)
    if part.tree and not any(name.startswith("tree/") for name in record.hashes):
        out.append(part.tree)
    return tuple(out)


def _whole(path: Path, digest: str, state: State | None) -> bool:
    try:
        return state == state_of(path) or hash_of(path) == digest
    except OSError:
        return False


def state_of(path: Path) -> State:
    """Size in bytes and time of the last change. Raises ``OSError`` where there is no such file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def hash_of(path: Path) -> str:
    """SHA-256 of a file, reckoned once in a process for as long as its size and time stay the same."""
    key = (str(path), state_of(path))
    if key not in _checked:
        with path.open("rb") as file:
            _checked[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _checked[key]
