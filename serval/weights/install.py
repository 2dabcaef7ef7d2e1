"""Fetching a part: download, check, extract, convert, and only then give it its place in the cache."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serval.refusal import Refusal
from serval.weights.archive import extract, room_for
from serval.weights.cache import INSTALLED, broken, cache_folder, hash_of, part_folder, state_of
from serval.weights.clients import download
from serval.weights.manifest import Part, part_named

# Nothing that could be code or pickle, but chat templates, which run apart (`conversation.template`).
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.md", "LICENSE*"]
Progress = Callable[[str, int], None]  # stage, and how many bytes of the archive are here


def fetch(name: str, progress: Progress = lambda stage, done: None) -> bool:
    """Bring a part into the cache, unless it is there whole. True when something was fetched.

    Two processes that want the same part at the same time wait for each other. Whatever interrupts it, nothing broken is left
    in the part's place, and an archive that was downloaded whole is not downloaded again.

    Raises:
        Refusal: see `clients.download`, `archive.extract`; or a file that does not hash as the manifest says.
    """
    part = part_named(name)
    if not broken(part):
        return False
    folder = part_folder(part)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if not broken(part):  # another process was faster
                return False
            _install(part, folder, progress)
    except OSError as error:
        why = "the disk is full" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "files cannot be written there"
        remedy = "make room, or set SERVAL_CACHE to a folder of your own"
        raise Refusal(f"part {part.name} in {cache_folder()}", why, remedy) from None
    return True


def _install(part: Part, folder: Path, progress: Progress) -> None:
    """Put everything together beside the part's place, then swap it in by renaming."""
    work, old = folder.with_name(folder.name + ".partial"), folder.with_name(folder.name + ".old")
    for left_over in (work, old):
        shutil.rmtree(left_over, ignore_errors=True)
    work.mkdir()
    try:
        if part.client == "hub":
            _hub(part, work, progress)
        else:
            room_for(part, folder.parent)
            archive = _archive(part, progress)
            progress("extracting", part.archive_bytes)
            extract(part, archive, work)
            _check_files(part, work)
            if part.convert:
                progress("converting", part.archive_bytes)
                _convert(part, work)
        progress("checking", part.archive_bytes)
        _write_installed(part, work)
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
        shutil.rmtree(_downloads(part), ignore_errors=True)
    finally:
        for left_over in (work, old):
            shutil.rmtree(left_over, ignore_errors=True)


def _archive(part: Part, progress: Progress) -> Path:
    """The part's archive, from an earlier try if that got so far."""
    folder = _downloads(part)
    for path in sorted(folder.glob("*")) if folder.exists() else []:
        if path.is_file() and path.stat().st_size == part.archive_bytes and hash_of(path) == part.archive_sha256:
            return path
    shutil.rmtree(folder, ignore_errors=True)
    progress("downloading", 0)
    path = download(part, folder, lambda done: progress("downloading", done))
    if path.stat().st_size != part.archive_bytes or hash_of(path) != part.archive_sha256:
        shutil.rmtree(folder, ignore_errors=True)
        why = f"{part.client} brought an archive that is not the pinned one; it was thrown away"
        raise Refusal(f"part {part.name}", why, "check which package index this machine uses, and run it again")
    return path


def _check_files(part: Part, work: Path) -> None:
    for each in part.files:
        if hash_of(work / each.name) != each.sha256:
            raise Refusal(
                f"part {part.name}", f"its file {each.name} is not the pinned one", f"run: serval weights fetch {part.name}"
            )


def _convert(part: Part, work: Path) -> None:
    """Into safetensors, once."""
    if part.convert == "gguf":
        from serval.weights import gguf

        gguf.convert(work / "model.gguf", work)
    elif part.convert == "pth":
        from serval.weights import pth

        pth.convert(work / "model.pth", work)
    elif part.convert == "ctranslate2":
        from serval.weights import ctranslate2

        ctranslate2.convert(work / "model.bin", work)
    else:
        from serval.weights import tfjs

        tfjs.convert(work / f"{part.name}.json", work / f"{part.name}.bin", work)


def _write_installed(part: Part, work: Path) -> None:
    paths = {path.relative_to(work).as_posix(): path for path in sorted(work.rglob("*")) if path.is_file()}
    paths.pop(INSTALLED, None)
    content = {
        "part": part.name,
        "package": part.package,
        "version": part.version,
        "files": {name: hash_of(path) for name, path in paths.items()},
        "states": {name: state_of(path) for name, path in paths.items()},
    }
    with (work / INSTALLED).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _hub(part: Part, work: Path, progress: Progress) -> None:
    """A model that a person named, with its revision; ``HF_HUB_OFFLINE`` is obeyed."""
    what = f"part hub:{part.package}"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise Refusal(what, "the hub is switched off (HF_HUB_OFFLINE)", "unset HF_HUB_OFFLINE to fetch it")
    from huggingface_hub import snapshot_download

    progress("downloading", 0)
    try:
        snapshot_download(part.package, revision=part.version, local_dir=work, allow_patterns=HUB_FILES)
    except Exception:  # its errors are many, and their texts carry addresses and tokens
        why = "the hub could not be reached or does not have it"
        raise Refusal(what, why, "check the name, the revision and the network") from None
    shutil.rmtree(work / ".cache", ignore_errors=True)
    if not any(work.rglob("*.safetensors")):
        raise Refusal(what, "it holds no safetensors", "choose a model that does")


def _downloads(part: Part) -> Path:
    return cache_folder() / "downloads" / part.folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
