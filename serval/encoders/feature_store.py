"""Features of a frozen tower on disk, so that training reads them instead of encoding again in every epoch."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from serval.encoders.features import Batch, Features, Tower, concatenate
from serval.refusal import Refusal

logger = logging.getLogger(__name__)
T = TypeVar("T")

INDEX: Final = "index.json"
"""What features these are, and which shard holds which keys. A shard counts from the moment it stands here."""

_FIELDS: Final = ("tokens", "times", "valid", "prefix", "pooled")
_EXACT: Final = {"times", "valid"}  # kept as they are, whatever precision was asked for


@dataclass(frozen=True)
class Made:
    """What a store's features are. Stores whose fields differ do not mix."""

    tower: str
    taps: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Shard:
    """One file of a store: its name, its size, and which items are in it, in order."""

    file: str
    bytes: int
    keys: tuple[str, ...]


class FeatureStore:
    """Features by key, mapped from the shards of a folder: what is not read takes no memory.

    Raises:
        Refusal: the folder holds no store, or its index is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made, self.shards = _index(folder)
        self._places = {key: (shard, row) for shard in self.shards for row, key in enumerate(shard.keys)}
        self._open = lru_cache(maxsize=64)(self._opened)  # shards, not keys: descriptors are few

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def read(self, keys: Sequence[str]) -> Features:
        """One batch of the features of ``keys``, in that order.

        Raises:
            KeyError: a key that is not there.
            ValueError: no key, or features of different sizes.
            Refusal: a shard is missing or damaged.
        """
        return concatenate([self._one(*self._places[key]) for key in keys])

    def _one(self, shard: Shard, row: int) -> Features:
        file, names = self._open(shard)
        found = {name: file.get_tensor(f"{row}.{name}") for name in names[row]}
        taps = sorted((name for name in found if name.startswith("tap.")), key=lambda name: int(name[4:]))
        grids = found["grids"].tolist()
        tensors: dict[str, Any] = {each: found.get(each) for each in _FIELDS}
        return Features(
            **tensors,
            grid=_grid(grids[0]),
            taps=tuple(found[tap] for tap in taps),
            tap_grids=tuple(_grid(grid) for grid in grids[1:]),
        )

    def _opened(self, shard: Shard) -> tuple[Any, dict[int, list[str]]]:
        path = self.folder / shard.file
        if not _whole(path, shard):
            raise Refusal(f"{self.folder.name}/{shard.file}", "it is missing or cut off", "extract the features again")
        try:
            file: Any = safe_open(path, framework="pt")
        except (OSError, SafetensorError):
            raise Refusal(f"{self.folder.name}/{shard.file}", "it is damaged", "extract the features again") from None
        names: dict[int, list[str]] = {}
        for name in file.keys():  # noqa: SIM118 - it has no other iterator
            row, _, field = name.partition(".")
            names.setdefault(int(row), []).append(field)
        return file, names


def extract(
    tower: Tower[T],
    items: Iterable[tuple[str, Callable[[], T]]],
    folder: Path,
    *,
    taps: Sequence[int] = (),
    dtype: torch.dtype = torch.float16,
    batch: int = 8,
    shard_bytes: int = 512 * 2**20,
    progress: Callable[[int], None] = lambda done: None,
) -> FeatureStore:
    """Encode what is not in the store yet, and put it there. One process may write to a store at a time.

    Whatever interrupts it, the store stays whole: a shard is written beside its place, moved there, and only then named in the
    index, which is replaced in one step. Run again, it goes on after the last shard; what was encoded when an exception came
    is kept too.

    Args:
        items: keys, and what loads the item of each; what is in the store is not loaded.
        taps: depths to keep beside the tokens, see `Tower.encode`.
        dtype: of tokens, taps and pooled vectors on disk.
        batch: items encoded at once, where their sizes allow it.
        shard_bytes: a shard's size, which only a single item may exceed.
        progress: told how many keys the store holds, after each batch.

    Raises:
        Refusal: the folder holds features of another tower, or of other taps or precision; or the tower refuses an item.
        ValueError: a key comes twice.
    """
    made = Made(tower.identity(), tuple(taps), str(dtype).removeprefix("torch."))
    writer = _Writer(folder, made, shard_bytes)
    kept = frozenset(writer.kept)
    missing = ((key, load) for key, load in items if key not in kept)
    try:
        while group := list(islice(missing, batch)):
            prepared = [(key, tower.prepare([load()])) for key, load in group]
            for keys, values in _alike(prepared):
                with torch.no_grad():
                    features = tower.encode(values, taps=taps)
                for row, key in enumerate(keys):
                    writer.add(key, features.row(row), dtype)
            progress(len(writer.kept) + len(writer.pending))
    finally:
        writer.flush()
    return FeatureStore(folder)


def _alike(prepared: Sequence[tuple[str, Batch]]) -> Iterator[tuple[list[str], Batch]]:
    """Neighbours of one shape together."""
    start = 0
    for end in range(1, len(prepared) + 1):
        if end < len(prepared) and prepared[end][1].values.shape == prepared[start][1].values.shape:
            continue
        run = [each for _, each in prepared[start:end]]
        seconds = [each.seconds for each in run if each.seconds is not None]
        values = Batch(torch.cat([each.values for each in run]), torch.cat(seconds) if seconds else None)
        yield [key for key, _ in prepared[start:end]], values
        start = end


class _Writer:
    """The end of a store where shards are added."""

    def __init__(self, folder: Path, made: Made, most: int) -> None:
        self.folder, self.made, self.most = folder, made, most
        self.shards: list[Shard] = []
        self.pending: dict[str, dict[str, Tensor]] = {}
        self.bytes = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / INDEX).exists():
            found, shards = _index(folder)
            for field in fields(Made):
                have, want = getattr(found, field.name), getattr(made, field.name)
                if have != want:
                    why = f"its features are of another {field.name} ({_short(have)}, not {_short(want)})"
                    raise Refusal(str(folder), why, "choose another folder")
            self.shards = [shard for shard in shards if _whole(folder / shard.file, shard)]
            if lost := len(shards) - len(self.shards):
                logger.warning("%s: %d shards are missing or cut off; their features are made again", folder, lost)
        self.kept = {key for shard in self.shards for key in shard.keys}
        self._write_index()

    def add(self, key: str, features: Features, dtype: torch.dtype) -> None:
        if key in self.pending or key in self.kept:
            raise ValueError(f"The key {key!r} comes twice.")
        named = {name: getattr(features, name) for name in _FIELDS if getattr(features, name) is not None}
        named |= {f"tap.{number}": tap for number, tap in enumerate(features.taps)}
        tensors = {name: tensor if name in _EXACT else tensor.to(dtype) for name, tensor in named.items()}
        grids = [grid or (0, 0) for grid in (features.grid, *features.tap_grids)]
        tensors["grids"] = torch.tensor(grids, dtype=torch.int32)
        size = sum(tensor.nbytes for tensor in tensors.values())
        if self.pending and self.bytes + size > self.most:
            self.flush()
        self.pending[key] = {
            name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        self.bytes += size

    def flush(self) -> None:
        if not self.pending:
            return
        used = {shard.file for shard in self.shards}
        number = next(number for number in range(len(used) + 1) if f"features-{number:05}.safetensors" not in used)
        path = self.folder / f"features-{number:05}.safetensors"
        rows = enumerate(self.pending.values())
        with _replacing(path) as part:
            save_file({f"{row}.{name}": tensor for row, tensors in rows for name, tensor in tensors.items()}, part)
        self.shards.append(Shard(path.name, path.stat().st_size, tuple(self.pending)))
        self._write_index()
        self.kept |= self.pending.keys()
        self.pending, self.bytes = {}, 0

    def _write_index(self) -> None:
        content = {**asdict(self.made), "shards": [asdict(shard) for shard in self.shards]}
        with _replacing(self.folder / INDEX) as part:
            part.write_text(json.dumps(content, indent=1), "utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path``, which takes its place once it is whole and on the disk."""
    part = path.with_name(f"{path.name}.part")
    yield part
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _index(folder: Path) -> tuple[Made, list[Shard]]:
    name = f"{folder.name}/{INDEX}"
    try:
        content = json.loads((folder / INDEX).read_text("utf-8"))
        made = Made(str(content["tower"]), tuple(map(int, content["taps"])), str(content["dtype"]))
        shards = [Shard(str(each["file"]), int(each["bytes"]), tuple(map(str, each["keys"]))) for each in content["shards"]]
    except OSError:
        raise Refusal(name, "it is missing or cannot be read", "give a folder of extracted features") from None
    except (ValueError, KeyError, TypeError):
        raise Refusal(name, "it is damaged", "extract the features again into another folder") from None
    if any(Path(shard.file).name != shard.file for shard in shards):
        raise Refusal(name, "it names files outside of its folder", "extract the features again into another folder")
    return made, shards


def _whole(path: Path, shard: Shard) -> bool:
    try:
        return path.stat().st_size == shard.bytes
    except OSError:
        return False


def _grid(sizes: list[int]) -> tuple[int, int] | None:
    return (sizes[0], sizes[1]) if sizes[0] else None


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)
