"""Sound of the telephone, ITU-T G.711: 8000 bytes a second, by the law of America and Japan (mu) or of everybody else (A)."""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Law = Literal["mu", "a"]
RATE: Final = 8_000

_BIAS, _MOST = 132, 32635  # of the mu law, in samples of 16 bits
_FLIPPED = {"mu": 0xFF, "a": 0x55}  # bits of a byte on the line, so that a quiet one has changes in it


def expand(data: bytes, law: Law) -> NDArray[np.int16]:
    """Samples (n,) of bytes."""
    return _samples(law)[np.frombuffer(data, np.uint8)]


def compress(samples: NDArray[np.int16], law: Law) -> bytes:
    """Bytes of samples (n,): those of the intervals that they lie in."""
    return _bytes(law)[samples.astype(np.int32) + 32768].tobytes()


@cache
def _samples(law: Law) -> NDArray[np.int16]:
    """[256]: the sample that each byte stands for, in the middle of its interval (tables 1a and 2a of G.711, at 16 bits)."""
    code = np.arange(256) ^ _FLIPPED[law]
    segment, step = (code >> 4) & 7, code & 15
    if law == "mu":
        size = (((step << 3) + _BIAS) << segment) - _BIAS
        return np.where(code & 128, -size, size).astype(np.int16)
    size = np.where(segment == 0, (step << 4) + 8, ((step << 4) + 264) << np.maximum(segment - 1, 0))
    return np.where(code & 128, size, -size).astype(np.int16)


@cache
def _bytes(law: Law) -> NDArray[np.uint8]:
    """[65536]: the byte of each sample, from -32768."""
    sample = np.arange(-32768, 32768)
    size = np.where(sample < 0, ~sample, sample)
    if law == "mu":
        size = np.minimum(size, _MOST) + _BIAS
        segment = _top(size) - 7
        code = np.where(sample < 0, 128, 0) | segment << 4 | (size >> (segment + 3)) & 15
        return (code ^ _FLIPPED[law]).astype(np.uint8)
    size = size >> 4
    segment = np.maximum(_top(np.maximum(size, 1)) - 3, 0)
    code = np.where(sample < 0, 0, 128) | segment << 4 | (size >> np.maximum(segment - 1, 0)) & 15
    return (code ^ _FLIPPED[law]).astype(np.uint8)


def _top(size: NDArray[np.int_]) -> NDArray[np.int_]:
    """The highest bit that is set, of numbers from 1."""
    return np.floor(np.log2(size)).astype(np.int_)
