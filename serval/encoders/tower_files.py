"""The files of a pretrained tower: what is read of them, and what is refused before a number is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from serval.refusal import Refusal
from serval.weights.checkpoint import SafetensorsCheckpoint

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
        """The content of ``config.json``."""
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
    def checkpoint(self) -> SafetensorsCheckpoint:
        """Its weights. Raises `Refusal` as that does."""
        return SafetensorsCheckpoint(self.folder)

    def names(self, prefix: str) -> dict[str, str]:
        """The tensors to read by the names that the tower knows them by. Where some begin with ``prefix`` (maybe after
        ``model.``), only those do, without it; the rest is another part of a larger model."""
        for start in (prefix, f"model.{prefix}"):
            part = {name.removeprefix(start): name for name in self.checkpoint.names() if prefix and name.startswith(start)}
            if part:
                return part
        return {name: name for name in self.checkpoint.names()}

    def numbers(self, names: Mapping[str, str]) -> int:
        """How many numbers those tensors have."""
        return sum(prod(self.checkpoint.shape(name)) for name in names.values())

    def tensors(self, names: Mapping[str, str]) -> dict[str, Tensor]:
        """The tensors ``names`` (see `names`), mapped from their files. Weights have to be of floats."""
        return {
            known: self.checkpoint.tensor(name, floats=name.endswith((".weight", ".bias"))) for known, name in names.items()
        }

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
