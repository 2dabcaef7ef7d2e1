"""GGUF files as everything else here reads models: Hugging Face's names and shapes, in memory or as a folder.

transformers reads the folder as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from serval.weights.gguf_file import GGUFFile, read_gguf
from serval.weights.gguf_model import read_model
from serval.weights.gguf_tokenizer import read_tokenizer
from serval.weights.safetensors_writer import write_safetensors, written

_ALONE = 2**15 - 1  # numbers that PyTorch copies in one thread: to wake others for so few costs more than it brings


class GGUFCheckpoint:
    """A GGUF file's tensors under Hugging Face's names; each is made when it is asked for, and none is kept.

    Attributes:
        name: of the file, for what a person is told.
        source: the file as it is.
        config: the fields of its ``config.json``.
        dtype: of the tensors that it gives.
    """

    def __init__(self, source: GGUFFile, dtype: torch.dtype) -> None:
        """Raises `Refusal`: see `gguf_model.read_model`."""
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"dtype {dtype} is not one that models are kept in")
        model = read_model(source)
        self.name, self.source, self.dtype, self._parts = source.name, source, dtype, model.parts
        self.config: dict[str, Any] = model.config | {"dtype": str(dtype).removeprefix("torch.")}

    def names(self) -> Iterable[str]:
        """Of all tensors, as Hugging Face calls them."""
        return self._parts

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one of them."""
        return self._parts[name].shape

    def tensor(self, name: str) -> Tensor:
        """Raises `Refusal` where its block format cannot be read."""
        part = self._parts[name]
        lying = self.source.tensors[part.tensor]
        if part.expert is not None:
            lying = lying.expert(part.expert)
        flat = torch.empty(math.prod(part.shape), dtype=self.dtype)
        for start, values in lying.parts():
            numbers = torch.from_numpy(values - part.offset if part.offset else values).view(-1)
            into = flat[start * part.shape[-1] :][: len(numbers)]
            for one, other in zip(torch.split(into, _ALONE), torch.split(numbers, _ALONE), strict=True):
                one.copy_(other)
        made = flat.view(part.shape)
        return half_split(made, part.heads) if part.heads else made

    def tokenizer(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What belongs into ``tokenizer.json`` and ``tokenizer_config.json``.

        Raises:
            Refusal: see `gguf_tokenizer.read_tokenizer`.
        """
        return read_tokenizer(self.source)


def open_gguf(path: Path, dtype: torch.dtype = torch.bfloat16) -> GGUFCheckpoint:
    """A GGUF file, ready to fill a model with; nothing but its header has been read.

    Raises:
        Refusal: it is damaged, or of an architecture that is not known here; see `gguf_families`.
    """
    return GGUFCheckpoint(read_gguf(path), dtype)


@contextmanager
def papers_of(path: Path) -> Iterator[Path]:
    """A folder with a model's configuration and tokenizer: its own, or for a GGUF file one that lasts as long as this.

    Raises:
        Refusal: see `convert`.
    """
    if path.suffix != ".gguf":
        yield path
        return
    checkpoint = open_gguf(path)
    tokenizer, settings = checkpoint.tokenizer()
    with TemporaryDirectory() as folder:
        for name, content in (
            ("config.json", checkpoint.config),
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", settings),
        ):
            (Path(folder) / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        yield Path(folder)


def convert(gguf: Path, out: Path, *, dtype: torch.dtype = torch.bfloat16, tokenizer: bool = True) -> None:
    """Write ``model.safetensors`` or its shards, ``config.json``, ``tokenizer.json`` and ``tokenizer_config.json``.

    The same file gives the same bytes every time. What is in the folder ``out`` already is written over. One tensor at a time
    is in memory.

    Args:
        tokenizer: whether the tokenizer is converted; a file with one that is not known can be read without.

    Raises:
        Refusal: ``gguf`` is damaged, or of an architecture or with a tokenizer that is not known here. Nothing is written then.
    """
    checkpoint = open_gguf(gguf, dtype)
    contents = {"config.json": checkpoint.config}
    if tokenizer:
        contents["tokenizer.json"], contents["tokenizer_config.json"] = checkpoint.tokenizer()
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with written(out / name) as file:
            file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    write_safetensors(out, {name: checkpoint.shape(name) for name in checkpoint.names()}, checkpoint.tensor, dtype)


def half_split(rows: Tensor, heads: int) -> Tensor:
    """Rows of a query or key matrix, reordered from llama.cpp's rotary layout to Hugging Face's.

    Within each head llama.cpp keeps the two numbers that turn together side by side (0, 1), (2, 3) …; Hugging Face keeps
    all first ones and then all second ones. ``rows`` is (heads * head_dim, anything) or, for a bias, (heads * head_dim).
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.transpose(1, 2).reshape(rows.shape)
