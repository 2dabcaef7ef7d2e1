"""Blocks of quantized tensors into numbers, as ggml-quants.c lays them out (ggml-org/ggml).

Numbers come in blocks of 32 or 256 that share scales. The common formats are read here, with the very numbers of the ``gguf``
package in a fraction of its time (Q4_1: a tenth); the package reads the rarer ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_ONE, _FOUR = np.uint8(1), np.uint8(4)  # NumPy's types follow from its own numbers


def dequantize(kind: str, rows: Bytes) -> Floats:
    """``rows`` (any, bytes of a row) to (any, numbers of a row), of the format that ggml calls ``kind``.

    Raises:
        NotImplementedError: a format that cannot be read.
    """
    with np.errstate(all="ignore"):  # a damaged scale may be infinite; what becomes of it is not decided here
        if kind not in _FORMATS:
            return _by_package(kind, rows)
        size, read = _FORMATS[kind]
        return read(np.ascontiguousarray(rows).reshape(-1, size)).reshape(len(rows), -1)


def _by_package(kind: str, rows: Bytes) -> Floats:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize as read

    return np.asarray(read(rows, GGMLQuantizationType[kind]), dtype=np.float32)


def _halves(blocks: Bytes, start: int, count: int = 1) -> Floats:
    """``count`` 16-bit floats of every block: (blocks, count)."""
    return np.ascontiguousarray(blocks[:, start : start + 2 * count]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(…, n) bytes to (…, 2n): all low halves, and then all high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def _f32(blocks: Bytes) -> Floats:
    return blocks.view("<f4").astype(np.float32)  # a copy, since what is mapped cannot be written to


def _f16(blocks: Bytes) -> Floats:
    return blocks.view("<f2").astype(np.float32)


def _bf16(blocks: Bytes) -> Floats:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _q8_0(blocks: Bytes) -> Floats:
    return np.multiply(blocks[:, 2:].view(np.int8), _halves(blocks, 0), dtype=np.float32)


def _q4_0(blocks: Bytes) -> Floats:
    return (_nibbles(blocks[:, 2:]).astype(np.float32) - 8) * _halves(blocks, 0)


def _q4_1(blocks: Bytes) -> Floats:
    return _scaled(_nibbles(blocks[:, 4:]), blocks)


def _q5_0(blocks: Bytes) -> Floats:
    return (_five_bits(blocks[:, 6:], blocks[:, 2:6]).astype(np.float32) - 16) * _halves(blocks, 0)


def _q5_1(blocks: Bytes) -> Floats:
    return _scaled(_five_bits(blocks[:, 8:], blocks[:, 4:8]), blocks)


def _scaled(levels: Bytes, blocks: Bytes) -> Floats:
    """Levels times the step that a block begins with, plus the least value behind it."""
    head, values = _halves(blocks, 0, 2), levels.astype(np.float32)
    values *= head[:, :1]
    values += head[:, 1:]
    return values


def _five_bits(low: Bytes, high: Bytes) -> Bytes:
    """(blocks, 16) bytes of halves and (blocks, 4) bytes of fifth bits to (blocks, 32) levels."""
    return _nibbles(low) | np.unpackbits(high, axis=1, bitorder="little") << _FOUR


def _q4_k(blocks: Bytes) -> Floats:
    return _eight_groups(_nibbles(blocks[:, 16:].reshape(-1, 4, 32)), blocks)


def _q5_k(blocks: Bytes) -> Floats:
    fifth = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & _ONE  # bit g of byte i: number i of group g
    return _eight_groups(_nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | fifth << _FOUR, blocks)


def _eight_groups(levels: Bytes, blocks: Bytes) -> Floats:
    """256 levels in groups of 32, each with a scale and a least value of six bits, which two floats scale in turn."""
    packed = blocks[:, 4:16]
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scale = np.concatenate((first & 63, rest & 15 | first >> 6 << 4), axis=1).astype(np.float32)
    least = np.concatenate((second & 63, rest >> 4 | second >> 6 << 4), axis=1).astype(np.float32)
    head, values = _halves(blocks, 0, 2), levels.reshape(-1, 8, 32).astype(np.float32)
    values *= (head[:, :1] * scale)[..., None]
    values -= (head[:, 1:] * least)[..., None]
    return values


def _q6_k(blocks: Bytes) -> Floats:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64))
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], dtype=np.uint8)[:, None] & 3
    levels = (low | high.reshape(-1, 2, 128) << _FOUR).astype(np.float32) - 32
    scale = _halves(blocks, 208) * blocks[:, 192:208].view(np.int8)
    return levels.reshape(-1, 16, 16) * scale[..., None]


_FORMATS: dict[str, tuple[int, Callable[[Bytes], Floats]]] = {  # bytes of a block, and how it is read
    "F32": (4, _f32),
    "F16": (2, _f16),
    "BF16": (2, _bf16),
    "Q8_0": (34, _q8_0),
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}
