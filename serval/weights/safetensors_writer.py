"""Writing safetensors one tensor at a time, so that a model larger than memory can be written.

The layout is the library's own (huggingface/safetensors): the header's length in eight bytes, the header in JSON, the numbers.
Large models become shards with an index beside them, as transformers writes and reads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]

LARGEST = 2 * 10**9  # bytes of a shard's numbers
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
_KINDS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def write_safetensors(
    folder: Path, shapes: Shapes, tensor: Callable[[str], Tensor], dtype: torch.dtype, *, largest: int = LARGEST
) -> None:
    """Write ``model.safetensors``, or shards and an index when the numbers take more than ``largest`` bytes.

    Weights that lie in ``folder`` from another time go: a reader would mix them up with these.

    Args:
        shapes: of every tensor, in the order in which they are written.
        tensor: gives one by its name, of the shape told and of ``dtype``.
    """
    shards = _shards(shapes, dtype.itemsize, largest)
    files = [WHOLE]
    if len(shards) > 1:
        files = [f"model-{index:05}-of-{len(shards):05}.safetensors" for index in range(1, len(shards) + 1)]
    for file, names in zip(files, shards, strict=True):
        with written(folder / file) as out:
            out.write(_header({name: shapes[name] for name in names}, dtype))
            for name in names:
                values = tensor(name)
                if tuple(values.shape) != shapes[name] or values.dtype != dtype:
                    raise ValueError(f"{name} is {tuple(values.shape)} of {values.dtype}, not {shapes[name]} of {dtype}")
                out.write(values.contiguous().view(-1).view(torch.uint8).numpy().data)
                del values  # before the next one is made
    if len(shards) > 1:
        places = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        size = sum(map(math.prod, shapes.values())) * dtype.itemsize
        index = {"metadata": {"total_size": size}, "weight_map": places}
        with written(folder / INDEX) as out:
            out.write(json.dumps(index, indent=1).encode() + b"\n")
        files.append(INDEX)
    for old in [folder / INDEX, folder / WHOLE, *folder.glob("model-?????-of-?????.safetensors")]:
        if old.name not in files:
            old.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place when all of it is there: whatever interrupts it leaves no half file."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _shards(shapes: Shapes, bytes_each: int, largest: int) -> list[list[str]]:
    """Names in their order, in groups of at most ``largest`` bytes; a tensor that is larger is alone."""
    shards: list[list[str]] = [[]]
    room = largest
    for name, shape in shapes.items():
        size = math.prod(shape) * bytes_each
        if size > room and shards[-1]:
            shards.append([])
            room = largest
        shards[-1].append(name)
        room -= size
    return shards


def _header(shapes: Shapes, dtype: torch.dtype) -> bytes:
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + math.prod(shape) * dtype.itemsize
        content[name] = {"dtype": _KINDS[dtype], "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers then begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text
