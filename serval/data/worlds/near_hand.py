"""A small symbol beside a hand in a large map of patches, for what LION-FS (arXiv:2503.03663) sees only when it looks closely.

Other symbols lie elsewhere, so it takes the hand to know which one is meant, and fine features to read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.codes import hadamard
from serval.media.box import Box

SYMBOLS = ("sun", "moon", "star", "leaf", "wave", "key", "bell", "fish")
SIDE, WIDTH = 24, 32  # patches each way, numbers of a patch
CODES, HAND = hadamard(WIDTH)[1 : 1 + len(SYMBOLS)], hadamard(WIDTH)[-1]
_HAND, _SYMBOL = 4, 2  # patches each way
_WORLD = 14


@dataclass(frozen=True, eq=False)
class NearHand:
    """One map and the symbol that the hand is at.

    Attributes:
        patches: (24, 24, 32) float32.
        hand, symbol: where they are. The symbol touches the hand on its left or right.
        others: names of the symbols elsewhere, and where they are.
    """

    patches: NDArray[np.float32]
    hand: Box
    symbol: Box
    answer: str
    others: tuple[tuple[str, Box], ...]


def make(seed: int, count: int, others: int = 3, noise: float = 0.5) -> list[NearHand]:
    """``count`` maps with ``others`` symbols that are not meant, up to 7, at least three patches from the hand."""
    return [_map(np.random.default_rng((_WORLD, seed, index)), others, noise) for index in range(count)]


def oracle(item: NearHand) -> str:
    """The symbol whose code the patches of its box hold."""
    left, top, right, bottom = item.symbol.pixels(SIDE, SIDE)
    return SYMBOLS[int(np.argmax(item.patches[top:bottom, left:right].mean((0, 1)) @ CODES.T))]


def _map(rng: np.random.Generator, others: int, noise: float) -> NearHand:
    patches = rng.standard_normal((SIDE, SIDE, WIDTH), np.float32) * np.float32(noise)
    top, left = int(rng.integers(SIDE - _HAND + 1)), int(rng.integers(_SYMBOL, SIDE - _HAND - _SYMBOL + 1))
    patches[top : top + _HAND, left : left + _HAND] += HAND
    names = rng.permutation(len(SYMBOLS))
    beside = (left - _SYMBOL, left + _HAND)[int(rng.integers(2))]
    places = [(top + int(rng.integers(_HAND - _SYMBOL + 1)), beside)]
    while len(places) < 1 + others:
        row, column = (int(each) for each in rng.integers(SIDE - _SYMBOL + 1, size=2))
        far = not (top - 4 <= row <= top + _HAND + 2 and left - 4 <= column <= left + _HAND + 2)
        if far and all(abs(row - y) >= _SYMBOL or abs(column - x) >= _SYMBOL for y, x in places):
            places.append((row, column))
    for name, (row, column) in zip(names, places, strict=False):
        patches[row : row + _SYMBOL, column : column + _SYMBOL] += CODES[name]
    boxes = [_box(row, column, _SYMBOL) for row, column in places]
    rest = tuple((SYMBOLS[name], box) for name, box in zip(names[1:], boxes[1:], strict=False))
    return NearHand(patches, _box(top, left, _HAND), boxes[0], SYMBOLS[names[0]], rest)


def _box(row: int, column: int, side: int) -> Box:
    return Box(column / SIDE, row / SIDE, (column + side) / SIDE, (row + side) / SIDE)
