"""What a model's files are called in a record: a name and a hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BYTES = 1 << 20  # of each file of weights


def identity(path: Path) -> str:
    """The name of a folder or file, and a hash over ``config.json`` and, of each file of weights, its size and its first
    megabyte: reading all of a large model would take longer than its first answer."""
    digest = hashlib.sha256()
    if path.is_dir():
        digest.update((path / "config.json").read_bytes())
    for each in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with each.open("rb") as file:
            digest.update(f"{each.name} {each.stat().st_size}".encode() + file.read(_BYTES))
    return f"{path.resolve().name} ({digest.hexdigest()[:16]})"
