"""Streams in which a hand comes to rest at a small symbol, for LION-FS (arXiv:2503.03663) as a whole: general features say what
it is at, egocentric ones when it rests, and the symbol is so small that a coarse grid hardly shows it.

Sometimes the camera comes closer, and somebody asks. So a model learns that views of one moment belong together, and can read
the quarters of a frame that it is shown before an answer, though it never saw quarters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.near_hand import HAND, SIDE, SYMBOLS, NearHand
from serval.data.worlds.near_hand import make as make_maps
from serval.data.worlds.said import Said
from serval.data.worlds.two_cues import PHASE_CODES
from serval.media.box import Box

CELLS, WIDTH = 3, 32  # of a frame's grid, each way, and numbers of a token
QUESTION = "what is it"
_NOISE = 0.5
_WORLD = 15


@dataclass(frozen=True, eq=False)
class HandStream:
    """A stream at two frames a second.

    Attributes:
        general, ego: (frames, 10, 32) float32, the mean and 3 by 3 cells of each tower's map.
        said: the symbol's name at the first frame at which the hand rests; or a question and its answer, a few views later.
        untaught: (frames,) bool, where it is known to nobody whether to speak: somebody is about to ask.
        maps: the whole map of each frame behind which the assistant speaks unasked.
        boxes: of the hand and of the symbol there.
    """

    general: NDArray[np.float32]
    ego: NDArray[np.float32]
    said: tuple[Said, ...]
    untaught: NDArray[np.bool_]
    maps: dict[int, NDArray[np.float32]]
    boxes: dict[int, tuple[Box, Box]]


def make(seed: int, count: int, scenes: int = 2, closer: float = 0.5) -> list[HandStream]:
    """``count`` streams of ``scenes``, of which a share ``closer`` has close views and a question."""
    return [_stream(np.random.default_rng((_WORLD, seed, index)), scenes, closer) for index in range(count)]


def oracle(stream: HandStream) -> tuple[Said, ...]:
    """What is to be said unasked, read from the maps and the egocentric tokens."""
    from serval.data.worlds.near_hand import CODES

    moving = (stream.ego[:, 1:] @ PHASE_CODES.T).mean(1).argmax(-1).astype(bool)
    rests = [int(end) for end in np.flatnonzero(moving[:-1] & ~moving[1:]) + 1 if not stream.untaught[end]]
    found = []
    for frame in rests:
        left, top, right, bottom = stream.boxes[frame][1].pixels(SIDE, SIDE)
        patch = stream.maps[frame][top:bottom, left:right].mean((0, 1))
        found.append(Said(frame, SYMBOLS[int(np.argmax(patch @ CODES.T))]))
    return tuple(found)


def _stream(rng: np.random.Generator, scenes: int, closer: float) -> HandStream:
    views: list[NDArray[np.float32]] = []  # maps of any side
    moving: list[bool] = []
    said: list[Said] = []
    untaught: list[int] = []
    maps, boxes = {}, {}
    for item in make_maps(int(rng.integers(2**31)), scenes, noise=0.0):
        before = int(rng.integers(2, 4))
        for number in range(before):  # the hand comes; it may be there before it rests
            there = number == before - 1 and rng.random() < 0.5
            views.append(_seen(rng, item.patches if there else _without_hand(item)))
            moving.append(True)
        frame = len(views)
        views.append(_seen(rng, item.patches))
        moving.append(False)
        if rng.random() >= closer:
            said.append(Said(frame, item.answer))
            maps[frame], boxes[frame] = views[-1], (item.hand, item.symbol)
            continue
        close = int(rng.integers(1, 5))
        views += [_seen(rng, _closer(rng, item)) for _ in range(close)]
        moving += [False] * close
        untaught += range(frame, frame + 1 + close)
        said += [Said(frame + close, QUESTION, "user"), Said(frame + close, item.answer)]
    ego = rng.standard_normal((len(views), 1 + CELLS**2, WIDTH), np.float32) * np.float32(_NOISE)
    ego[:, 1:] += PHASE_CODES[np.array(moving, int)][:, None]
    general = np.stack([_pooled(view) for view in views])
    return HandStream(general, ego, tuple(said), np.isin(np.arange(len(views)), untaught), maps, boxes)


def _without_hand(item: NearHand) -> NDArray[np.float32]:
    patches = item.patches.copy()
    left, top, right, bottom = item.hand.pixels(SIDE, SIDE)
    patches[top:bottom, left:right] -= HAND
    return patches


def _closer(rng: np.random.Generator, item: NearHand) -> NDArray[np.float32]:
    """A square part of the map: mostly around hand and symbol, at times elsewhere."""
    side = int(rng.choice((6, 12)))
    boxes = [item.hand.pixels(SIDE, SIDE), item.symbol.pixels(SIDE, SIDE)]
    left, top = (min(box[axis] for box in boxes) for axis in (0, 1))
    right, bottom = (max(box[axis] for box in boxes) for axis in (2, 3))
    if rng.random() < 0.25:
        x, y = (int(each) for each in rng.integers(SIDE - side + 1, size=2))
    else:
        x = int(rng.integers(max(0, right - side), min(left, SIDE - side) + 1))
        y = int(rng.integers(max(0, bottom - side), min(top, SIDE - side) + 1))
    return item.patches[y : y + side, x : x + side]


def _seen(rng: np.random.Generator, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    return patches + rng.standard_normal(patches.shape, np.float32) * np.float32(_NOISE)


def _pooled(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """(10, 32): the mean of all patches, then of each cell."""
    cell = len(patches) // CELLS
    cells = patches.reshape(CELLS, cell, CELLS, cell, WIDTH).mean((1, 3)).reshape(-1, WIDTH)
    return np.concatenate((cells.mean(0, keepdims=True), cells))
