"""A small text file that several processes change: one at a time, and whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serval.refusal import Refusal


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's lock, waiting for whoever has it; the system frees the lock of a process that died.

    Raises:
        Refusal: the folder is missing or cannot be written.
    """
    try:
        lock = path.with_name(f".{path.name}.lock").open("a")
    except OSError as error:
        raise Refusal(str(path), f"cannot be written ({error.strerror})", "choose another folder") from None
    with lock:  # closing it frees it
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace_text(path: Path, text: str) -> None:
    """Give a file new content: durable on the disk first, then in place of the old one in a single step.

    Raises:
        Refusal: the folder or the disk does not take it; the old content stands.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(temporary).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the new name could be lost with the power
        finally:
            os.close(folder)
    except OSError as error:
        raise Refusal(str(path), f"cannot be written ({error.strerror})", "choose another folder") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
