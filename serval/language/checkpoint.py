"""Tensors in safetensors files, whole or in shards, behind one small protocol. Nothing else is ever opened."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from serval.refusal import Refusal

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.pt")
_AGAIN = "fetch the weights again"


class Checkpoint(Protocol):
    """Tensors by name.

    Attributes:
        name: of the file or folder, for what a person is told.
    """

    name: str

    def names(self) -> Iterable[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def tensor(self, name: str) -> Tensor:
        """Raises `Refusal` where it is damaged or not of floats."""
        ...


class SafetensorsCheckpoint:
    """A folder with ``model.safetensors`` or its shards, or one file. Tensors are read when they are asked for.

    Raises:
        Refusal: missing, truncated or damaged, a shard outside the folder, or weights in pickles only, which could run
            anything and are never opened.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._files: dict[str, Path] = {}  # where each tensor is
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._kinds: dict[str, str] = {}
        self._open: dict[Path, safe_open] = {}
        for file in self._shards(path):
            with self._opened(file) as opened:
                for name in opened.keys():  # noqa: SIM118 - it has no other iterator
                    part = opened.get_slice(name)
                    self._files[name], self._shapes[name] = file, tuple(part.get_shape())
                    self._kinds[name] = part.get_dtype()

    def names(self) -> Iterable[str]:
        return self._files

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def tensor(self, name: str) -> Tensor:
        if self._kinds[name] not in _FLOATS:
            raise Refusal(self.name, f"{shown(name)} is not of floats", "take weights that are not quantized")
        file = self._files[name]
        if file not in self._open:
            self._open[file] = self._opened(file)
        tensor: Tensor = self._open[file].get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor

    def _opened(self, file: Path) -> safe_open:
        try:
            return safe_open(file, framework="pt")
        except OSError:
            raise Refusal(file.name, "it cannot be read", f"check the path, or {_AGAIN}") from None
        except SafetensorError:
            raise Refusal(file.name, "it is damaged, or not a safetensors file", _AGAIN) from None

    def _shards(self, path: Path) -> list[Path]:
        if not path.is_dir():
            return [path]
        if (path / INDEX).exists():
            try:
                files = set(json.loads((path / INDEX).read_bytes())["weight_map"].values())
                if not files or not all(isinstance(each, str) and each == Path(each).name for each in files):
                    raise ValueError
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise Refusal(INDEX, "it is damaged, or names files elsewhere", _AGAIN) from None
            return [path / each for each in sorted(files)]
        if (path / SINGLE).exists():
            return [path / SINGLE]
        for pickle in _PICKLES:
            if (path / pickle).exists():
                raise Refusal(pickle, "it is a pickle, which may run anything when it is read", "take a safetensors version")
        raise Refusal(path.name, f"there is no {SINGLE} in it", _AGAIN)


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


def parameter_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that ``tensors`` take."""
    return sum(each.numel() * torch.empty((), dtype=each.dtype).element_size() for each in tensors)
