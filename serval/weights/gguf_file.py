"""Reading a GGUF file that nobody vouches for: every size is checked against the file before anything is taken from it.

The layout is llama.cpp's (ggml-org/ggml, docs/gguf.md): a header of typed key-value pairs, descriptions of the tensors, and
then the tensors, each at a multiple of an alignment.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.refusal import Refusal
from serval.weights.gguf_blocks import dequantize

VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MOST_ENTRIES = 10_000  # key-value pairs, and tensors
MOST_ITEMS = 4_000_000  # of one array
MOST_DIMENSIONS = 4
LONGEST_NAME = 256  # bytes of a key or a tensor's name
LONGEST_STRING = 4 * 2**20

_AT_ONCE = 2**17  # numbers: few enough to stay in a CPU's cache between the steps of their making
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q").unpack_from
_REMEDY = "fetch it again"


@dataclass(frozen=True)
class GGUFTensor:
    """One tensor as it lies in the file.

    Attributes:
        file: name of the file, for what a person is told.
        shape: slowest axis first, as NumPy and PyTorch have it (the file has it the other way round).
        kind: name of the block format: "F32", "Q4_1" ...
        blocks: (rows, bytes of a row) uint8; all axes but the last make the rows.
    """

    file: str
    name: str
    shape: tuple[int, ...]
    kind: str
    blocks: NDArray[np.uint8]

    def dequantize(self) -> NDArray[np.float32]:
        """The numbers, of `shape`.

        Raises:
            Refusal: the block format is not one that can be read here.
        """
        values = np.empty((len(self.blocks), self.shape[-1]), dtype=np.float32)
        for start, part in self.parts():
            values[start : start + len(part)] = part
        return values.reshape(self.shape)

    def parts(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The numbers a few rows at a time, (rows, `shape[-1]`), each with its first row's place.

        Raises:
            Refusal: the block format is not one that can be read here.
        """
        step = max(1, _AT_ONCE // self.shape[-1])
        try:
            for start in range(0, len(self.blocks), step):
                yield start, dequantize(self.kind, self.blocks[start : start + step])
        except NotImplementedError:
            why = f"{self.name} is of format {self.kind}, which cannot be read here"
            raise Refusal(self.file, why, "take a Q4_K, Q8_0 or F16 file") from None

    def expert(self, index: int) -> GGUFTensor:
        """One of the tensors that lie behind each other along the first axis."""
        rows = len(self.blocks) // self.shape[0]
        return replace(self, shape=self.shape[1:], blocks=self.blocks[index * rows : (index + 1) * rows])


@dataclass(frozen=True)
class GGUFFile:
    """What a GGUF file holds: its key-value pairs, and its tensors by name, in the order of the file."""

    name: str
    values: dict[str, Any]
    tensors: dict[str, GGUFTensor]

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of ``key``, which must be of ``kind``; whole numbers pass for floats.

        Raises:
            Refusal: it is missing and there is no default, or it is of another kind.
        """
        value = self.values.get(key, default)
        if value is None:
            raise Refusal(self.name, f"it does not tell {key}", "take another conversion of the model")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refusal(self.name, f"its {key} is not what it should be", "take another conversion of the model")
        return value


def read_gguf(path: Path) -> GGUFFile:
    """Read the header of a GGUF file and map its tensors; they are read from the disk when they are used.

    Raises:
        Refusal: it is no GGUF file, an unknown version of one, cut short, or it claims sizes that it does not have.
    """
    name = path.name
    try:
        if path.stat().st_size == 0:
            raise Refusal(name, "the file is empty", _REMEDY)
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise Refusal(name, (error.strerror or "it cannot be read").lower(), "check the path") from None
    return _Header(data, name).read()


def shown(name: str) -> str:
    """A tensor's name, fit to be shown."""
    return name if name.isprintable() and len(name) <= 80 else "a tensor with a strange name"


class _Header:
    """Walks the header, with every size held against the bytes that are left."""

    def __init__(self, data: NDArray[np.uint8], name: str) -> None:
        self._data, self._bytes = data, memoryview(data)  # type: ignore[arg-type]
        self._size, self._name, self._at = len(data), name, 0

    def read(self) -> GGUFFile:
        if bytes(self._bytes[:4]) != b"GGUF":
            raise self._refusal("it is not a GGUF file", "give a .gguf file")
        self._at = 4
        version = self._number("I")
        if version not in VERSIONS:
            raise self._refusal("its GGUF version is not one that is known here", "take a newer conversion of the model")
        tensor_count, value_count = self._number("Q"), self._number("Q")
        if max(tensor_count, value_count) > MOST_ENTRIES:
            raise self._refusal("its header claims an absurd number of entries")
        values: dict[str, Any] = {}
        for _ in range(value_count):
            key = self._string(LONGEST_NAME)
            if key in values:
                raise self._refusal("its header gives a key twice")
            values[key] = self._value(self._number("I"))
        described = [self._tensor() for _ in range(tensor_count)]
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 2**20:
            raise self._refusal("its alignment is not a power of two")
        start = -(-self._at // alignment) * alignment
        tensors: dict[str, GGUFTensor] = {}
        for name, shape, kind, offset in described:
            if name in tensors:
                raise self._refusal(f"its header gives {shown(name)} twice")
            if offset % alignment:
                raise self._refusal(f"{shown(name)} does not lie at a multiple of {alignment}")
            tensors[name] = self._mapped(name, shape, kind, start + offset)
        self._apart([(offset, tensors[name]) for name, _, _, offset in described])
        return GGUFFile(self._name, values, tensors)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string(LONGEST_NAME)
        dimensions = self._number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self._refusal(f"{shown(name)} claims {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        return name, shape, self._number("I"), self._number("Q")

    def _mapped(self, name: str, shape: tuple[int, ...], kind: int, offset: int) -> GGUFTensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            known = GGMLQuantizationType(kind)
            per_block, block_bytes = GGML_QUANT_SIZES[known]
        except (ValueError, KeyError):
            why = f"{shown(name)} is in a format that is not known here"
            raise self._refusal(why, "take a Q4_K, Q8_0 or F16 file") from None
        if min(shape) < 1 or shape[-1] % per_block:
            raise self._refusal(f"{shown(name)} has a shape that its format {known.name} cannot have")
        rows, row_bytes = math.prod(shape[:-1]), shape[-1] // per_block * block_bytes
        if offset + rows * row_bytes > self._size:
            raise self._refusal(f"{shown(name)} lies beyond its end: it was cut short, or claims sizes that it does not have")
        blocks = self._data[offset : offset + rows * row_bytes].reshape(rows, row_bytes)
        return GGUFTensor(self._name, name, shape, known.name, blocks)

    def _apart(self, placed: list[tuple[int, GGUFTensor]]) -> None:
        end = 0
        for offset, tensor in sorted(placed, key=lambda each: each[0]):
            if offset < end:
                raise self._refusal(f"{shown(tensor.name)} lies upon another tensor")
            end = offset + tensor.blocks.size

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string(LONGEST_STRING)
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise self._refusal("its header holds a kind of value that is not known here")
        return self._number(_SCALARS[kind])

    def _array(self) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if kind != _STRING and kind not in _SCALARS:
            raise self._refusal("its header holds a kind of list that is not known here")
        least = 8 if kind == _STRING else struct.calcsize("<" + _SCALARS[kind])
        if count > MOST_ITEMS or count * least > self._size - self._at:
            raise self._refusal("its header claims a list of absurd length")
        if kind == _STRING:
            return [self._string(LONGEST_STRING) for _ in range(count)]
        items = struct.unpack_from(f"<{count}{_SCALARS[kind]}", self._bytes, self._at)
        self._at += count * least
        return list(items)

    def _number(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        self._need(size)
        (value,) = struct.unpack_from("<" + code, self._bytes, self._at)
        self._at += size
        return value

    def _string(self, longest: int) -> str:
        start = self._at + 8  # written out, since a vocabulary is half a million of these
        if start > self._size:
            raise self._refusal("it was cut short")
        (length,) = _LENGTH(self._bytes, self._at)
        if length > longest:
            raise self._refusal("its header claims a text of absurd length")
        if length > self._size - start:
            raise self._refusal("it was cut short")
        self._at = start + length
        try:
            return str(self._bytes[start : self._at], "utf-8")
        except UnicodeDecodeError:
            raise self._refusal("text in its header is damaged") from None

    def _need(self, size: int) -> None:
        if size > self._size - self._at:
            raise self._refusal("it was cut short")

    def _refusal(self, why: str, remedy: str = _REMEDY) -> Refusal:
        return Refusal(self._name, why, remedy)
