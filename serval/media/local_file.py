"""Files on this machine, opened only when they are plain files of a bearable size."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from serval.media.explain import explain
from serval.media.limits import MediaLimits
from serval.refusal import Refusal


def open_regular(path: Path, limits: MediaLimits, most: int | None = None) -> BinaryIO:
    """Open a plain file for reading, after its kind and size have been checked.

    Args:
        most: bytes it may have; the limit for videos by default.

    Raises:
        Refusal: no such file, a directory, a device or pipe, empty, or too large.
    """
    what = printable(path.name)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise Refusal(what, "it is a directory", "give a file")
        if not stat.S_ISREG(found.st_mode):
            raise Refusal(what, "it is a device or a pipe, not a file", "give a file, or camera:0 for a camera")
        limits.check_bytes(what, found.st_size, most)
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise Refusal(what, explain(error), "check the path") from None


def printable(name: str) -> str:
    """A file name that fits on one line of a terminal, whatever its characters."""
    clean = "".join(char if char.isprintable() else "?" for char in name)
    return clean if len(clean) <= 80 else f"{clean[:40]}…{clean[-38:]}"
