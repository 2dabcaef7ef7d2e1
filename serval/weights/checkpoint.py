"""Tensors in safetensors files, whole or in shards, behind one small protocol. Nothing else is ever opened."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from serval.refusal import Refusal

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_AGAIN = "fetch the model again"


class Checkpoint(Protocol):
    """Tensors by name.

    Attributes:
        name: of the file or folder, for what a person is told.
    """

    name: str

    def names(self) -> Iterable[str]:
        """Of all tensors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one of them."""
        ...

    def tensor(self, name: str) -> Tensor:
        """Raises `Refusal` where it is damaged or not of floats."""
        ...


class SafetensorsCheckpoint:
    """A folder with ``model.safetensors`` or its shards, or one file. Tensors are read when they are asked for.

    Attributes:
        name: of the folder or file, for what a person is told.

    Raises:
        Refusal: missing, truncated or damaged, a shard outside the folder, or weights in pickles only, which could run
            anything and are never opened.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        self._found: dict[str, tuple[Path, tuple[int, ...], str]] = {}  # of each tensor its file, shape and type
        self._open: dict[Path, safe_open] = {}
        self._files = self._shards()
        for file in self._files:
            try:
                with self._opened(file) as opened:
                    for name in opened.keys():  # noqa: SIM118 - it has no other iterator
                        part = opened.get_slice(name)
                        self._found[name] = file, tuple(part.get_shape()), part.get_dtype()
            except SafetensorError:
                raise self._refusal(file.name, "it is cut off or damaged") from None

    def names(self) -> Iterable[str]:
        """Of all tensors."""
        return self._found

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one of them."""
        return self._found[name][1]

    def is_float(self, name: str) -> bool:
        """Whether it is of 16, 32 or 64 bit floats."""
        return self._found[name][2] in _FLOATS

    def tensor(self, name: str, *, floats: bool = True) -> Tensor:
        """Raises `Refusal` where it is not of floats, unless others are wanted too."""
        file = self._found[name][0]
        if floats and not self.is_float(name):
            raise self._refusal(file.name, f"{shown(name)} is not of floats", "take a model that is not quantized")
        if file not in self._open:
            self._open[file] = self._opened(file)
        tensor: Tensor = self._open[file].get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor

    def place(self, name: str | None = None) -> str:
        """The file that a refusal about a tensor gives: its own, or where it should have been named."""
        if name in self._found:
            return self._named(self._found[name][0].name)
        return self._named(self._files[0].name if len(self._files) == 1 else INDEX)

    def _opened(self, file: Path) -> safe_open:
        try:
            return safe_open(file, framework="pt")
        except OSError:
            raise self._refusal(file.name, "it is missing or cannot be read", f"check the path, or {_AGAIN}") from None
        except SafetensorError:
            raise self._refusal(file.name, "it is cut off or damaged, or not a safetensors file") from None

    def _shards(self) -> tuple[Path, ...]:
        path = self._path
        if not path.is_dir():
            return (path,)
        if (path / SINGLE).exists():
            return (path / SINGLE,)
        if (path / INDEX).exists():
            return tuple(path / each for each in sorted(self._indexed(path / INDEX)))
        for pickled in sorted(each.name for each in path.iterdir() if each.suffix in _PICKLED):
            raise self._refusal(pickled, "pickled weights can run code and are never read", "convert them to safetensors")
        raise self._refusal(SINGLE, "there is no such file")

    def _indexed(self, index: Path) -> set[str]:
        """Names of the files that an index leads to, which must not lie elsewhere."""
        try:
            files = set(json.loads(index.read_bytes())["weight_map"].values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            files = set()
        if not files:
            raise self._refusal(INDEX, "it is not an index of weights")
        if not all(isinstance(each, str) and each == Path(each).name and each.endswith(".safetensors") for each in files):
            raise self._refusal(INDEX, "it names files that are not safetensors of this folder")
        return files

    def _named(self, file: str) -> str:
        return f"{self.name}/{file}" if self._path.is_dir() else file

    def _refusal(self, file: str, why: str, remedy: str = _AGAIN) -> Refusal:
        return Refusal(self._named(file), why, remedy)


def differences(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> list[str]:
    """What has another shape, is missing, or is not expected, in words."""
    other = [
        f"{name} is {_shape(found[name])} and should be {_shape(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    missing = [f"{name} is missing" for name in wanted if name not in found]
    extra = [f"{shown(name)} is not expected" for name in found if name not in wanted]
    return other + missing + extra


def refuse_differences(file: str, wrong: list[str], remedy: str) -> None:
    """Raises `Refusal` with the first few of ``wrong``, when there are any."""
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Refusal(file, f"{', '.join(wrong[:3])}{more}", remedy)


def shown(name: str) -> str:
    """A tensor's name, fit to be shown."""
    return name if name.isprintable() and len(name) <= 80 else "a tensor with a strange name"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
