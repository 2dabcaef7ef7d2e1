"""Fetching a part: download, check, extract, convert, and only then give it its place in the cache."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serval.refusal import Refusal
from serval.weights.archive import extract, room_for
from serval.weights.cache import INSTALLED, cache_folder, hash_of, installed, part_folder
from serval.weights.clients import download
from serval.weights.manifest import Part, part_named

HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.md", "LICENSE*"]  # nothing that could be code or pickle
Progress = Callable[[str, int, int], None]  # stage, bytes done, bytes in all (0 where nobody knows)


def fetch(name: str, progress: Progress = lambda stage, done, total: None) -> bool:
    """Bring a part into the cache, unless it is there whole. True when something was fetched.

    Two processes that want the same part at the same time wait for each other. Whatever interrupts it, nothing broken is left
    in the part's place, and an archive that was downloaded whole is not downloaded again.

    Raises:
        Refusal: see `clients.download`, `archive.extract`; or a file that does not hash as the manifest says.
    """
    part = part_named(name)
    folder = part_folder(part)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if not broken(part):
            return False
        work = folder.with_name(folder.name + ".partial")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            if part.client == "hub":
                _hub(part, work, progress)
            else:
                room_for(part, folder.parent)
                archive = _archive(part, progress)
                progress("extracting", 0, 0)
                extract(part, archive, work)
                _check_files(part, work)
                if part.convert:
                    progress("converting", 0, 0)
                    _convert(part, work)
            progress("checking", 0, 0)
            _write_installed(part, work)
            shutil.rmtree(folder, ignore_errors=True)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(_downloads(part), ignore_errors=True)
    return True


def broken(part: Part) -> tuple[str, ...]:
    """Names of the part's files that are missing or not what was installed; all of them when it was not."""
    hashes = installed(part)
    if hashes is None:
        return tuple(each.name for each in part.files) or (part.tree or part.package,)
    pinned = {each.name: each.sha256 for each in part.files}
    folder, out = part_folder(part), []
    for name in {**pinned, **hashes}:
        try:
            if name not in hashes or hash_of(folder / name) != pinned.get(name, hashes[name]):
                out.append(name)
        except OSError:
            out.append(name)
    return tuple(out)


def _archive(part: Part, progress: Progress) -> Path:
    """The part's archive, from an earlier try if that got so far."""
    folder = _downloads(part)
    for path in sorted(folder.glob("*")) if folder.exists() else []:
        if path.is_file() and path.stat().st_size == part.archive_bytes and hash_of(path) == part.archive_sha256:
            return path
    shutil.rmtree(folder, ignore_errors=True)
    progress("downloading", 0, part.archive_bytes)
    path = download(part, folder, lambda done: progress("downloading", done, part.archive_bytes))
    if path.stat().st_size != part.archive_bytes or hash_of(path) != part.archive_sha256:
        shutil.rmtree(folder, ignore_errors=True)
        why = f"{part.client} brought an archive that is not the pinned one; it was thrown away"
        raise Refusal(f"part {part.name}", why, "check which package index this machine uses, and run it again")
    return path


def _check_files(part: Part, work: Path) -> None:
    for each in part.files:
        if hash_of(work / each.name) != each.sha256:
            raise Refusal(f"part {part.name}", f"its file {each.name} is not the pinned one", "run it again")


def _convert(part: Part, work: Path) -> None:
    """Into safetensors, once."""
    if part.convert == "gguf":
        from serval.weights import gguf

        gguf.convert(work / "model.gguf", work)
    elif part.convert == "pth":
        from serval.weights import pth

        pth.convert(work / "model.pth", work)
    else:
        from serval.weights import tfjs

        tfjs.convert(work / f"{part.name}.json", work / f"{part.name}.bin", work)


def _write_installed(part: Part, work: Path) -> None:
    hashes = {path.name: hash_of(path) for path in sorted(work.iterdir()) if path.is_file()}
    content = {"part": part.name, "package": part.package, "version": part.version, "files": hashes}
    with (work / INSTALLED).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _hub(part: Part, work: Path, progress: Progress) -> None:
    """A model that a person named, with its revision; ``HF_HUB_OFFLINE`` is obeyed."""
    from huggingface_hub import snapshot_download

    progress("downloading", 0, 0)
    try:
        snapshot_download(part.package, revision=part.version, local_dir=work, allow_patterns=HUB_FILES)
    except Exception:  # its errors are many, and their texts carry addresses and tokens
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
        why = "the hub is off (HF_HUB_OFFLINE)" if offline else "the hub could not be reached or does not have it"
        raise Refusal(f"part hub:{part.package}", why, "check the name, the revision and the network") from None
    shutil.rmtree(work / ".cache", ignore_errors=True)


def _downloads(part: Part) -> Path:
    return cache_folder() / "downloads" / part.folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
