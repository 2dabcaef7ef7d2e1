"""The files of a pretrained tower: what is read of them, and what is refused before a number is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from serval.refusal import Refusal

_INDEX: Final = "model.safetensors.index.json"
_SINGLE: Final = "model.safetensors"
_PICKLED: Final = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_FLOATS: Final = {"F64", "F32", "F16", "BF16"}
_AGAIN: Final = "fetch the model again"


class TowerFiles:
    """A folder with ``config.json`` and safetensors. Whatever is wrong with it is a `Refusal` that names the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise Refusal(str(folder), "there is no such folder", "give the folder of a model with config.json and safetensors")

    def name(self, file: str) -> str:
        """How a file is called in a refusal."""
        return f"{self.folder.name}/{file}"

    def config(self) -> Mapping[str, Any]:
        if not (self.folder / "config.json").exists():
            raise Refusal(self.name("config.json"), "there is no such file", "give the folder of a model")
        return self._json("config.json")

    def prepared(self) -> Mapping[str, Any] | None:
        """How the input is prepared, from either place where transformers writes it; None where neither is there."""
        if (self.folder / "preprocessor_config.json").exists():
            return self._json("preprocessor_config.json")
        if (self.folder / "processor_config.json").exists():
            content = self._json("processor_config.json")
            for key in ("image_processor", "feature_extractor"):
                if isinstance(content.get(key), Mapping):
                    return dict(content[key])
        return None

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        if (self.folder / _SINGLE).exists():
            return (self.folder / _SINGLE,)
        if not (self.folder / _INDEX).exists():
            pickled = sorted(path.name for path in self.folder.iterdir() if path.suffix in _PICKLED)
            if pickled:
                raise Refusal(
                    self.name(pickled[0]), "pickled weights can run code and are never read", "convert them to safetensors"
                )
            raise Refusal(self.name(_SINGLE), "there is no such file", _AGAIN)
        places = self._json(_INDEX).get("weight_map")
        if not isinstance(places, Mapping) or not places:
            raise Refusal(self.name(_INDEX), "it is not an index of weights", _AGAIN)
        names = set(places.values())
        for name in names:
            # A plain name: an index must not lead out of the folder.
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
                raise Refusal(self.name(_INDEX), "it names files that are not safetensors of this folder", _AGAIN)
        return tuple(self.folder / name for name in sorted(names))

    @cached_property
    def _headers(self) -> dict[str, tuple[Path, tuple[int, ...], str]]:
        """Of each tensor its file, shape and type."""
        found: dict[str, tuple[Path, tuple[int, ...], str]] = {}
        for path in self._files:
            try:
                with safe_open(path, framework="pt") as file:
                    for key in file.keys():  # noqa: SIM118 - it has no other iterator
                        part = file.get_slice(key)
                        found[key] = (path, tuple(part.get_shape()), part.get_dtype())
            except OSError:
                raise Refusal(self.name(path.name), "it is missing or cannot be read", _AGAIN) from None
            except SafetensorError:
                raise Refusal(self.name(path.name), "it is cut off or damaged", _AGAIN) from None
        return found

    def names(self, prefix: str) -> dict[str, str]:
        """The tensors to read by the names that the tower knows them by. Where some begin with ``prefix`` (maybe after
        ``model.``), only those do, without it; the rest is another part of a larger model."""
        for start in (prefix, f"model.{prefix}"):
            part = {name.removeprefix(start): name for name in self._headers if prefix and name.startswith(start)}
            if part:
                return part
        return {name: name for name in self._headers}

    def place(self, name: str | None) -> str:
        """The file that a refusal about the tensor ``name`` gives: its own, or where it should have been named."""
        if name in self._headers:
            return self.name(self._headers[name][0].name)
        return self.name(self._files[0].name if len(self._files) == 1 else _INDEX)

    def numbers(self, names: Mapping[str, str]) -> int:
        return sum(prod(self._headers[name][1]) for name in names.values())

    def tensors(self, names: Mapping[str, str]) -> dict[str, Tensor]:
        """The tensors ``names`` (see `names`), mapped from their files."""
        out: dict[str, Tensor] = {}
        for path in self._files:
            with safe_open(path, framework="pt") as file:
                for known, name in names.items():
                    place, _, kind = self._headers[name]
                    if place != path:
                        continue
                    if kind not in _FLOATS and name.endswith((".weight", ".bias")):
                        raise Refusal(self.name(path.name), f"{name} is not of floats", "take a model that is not quantized")
                    out[known] = file.get_tensor(name)
        return out

    def _json(self, file: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / file).read_bytes())
        except OSError:
            raise Refusal(self.name(file), "it cannot be read", _AGAIN) from None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Refusal(self.name(file), "it is damaged", _AGAIN)
        return content
