"""Streams of scenes that change at random times: each frame is a noisy code of its scene, and the new one is named at once.

The smallest world in which there is a moment to speak at (VideoLLM-online, arXiv:2406.11816).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.codes import hadamard
from serval.data.worlds.said import Said

NAMES = tuple(
    f"{size} {colour} {room}" for size in ("small", "large") for colour in ("red", "blue") for room in ("hall", "shop")
)
WIDTH = 32  # numbers of a token
CHANGES = 0.15  # share of frames at which the scene changes
CODES = hadamard(WIDTH)[1 : 1 + len(NAMES)]
_WORLD = 14


@dataclass(frozen=True, eq=False)
class SceneStream:
    """A stream: ``tokens`` (frames, 1, 32) float32, ``scenes`` (frames,) int64 into `NAMES`, and what is said."""

    tokens: NDArray[np.float32]
    scenes: NDArray[np.int64]
    said: tuple[Said, ...]


def make(seed: int, count: int, frames: int = 40, noise: float = 1.0) -> list[SceneStream]:
    """``count`` streams. ``noise``: standard deviation of each number of a token, of codes made of 1 and -1."""
    return [_stream(np.random.default_rng((_WORLD, seed, index)), frames, noise) for index in range(count)]


def oracle(stream: SceneStream) -> tuple[Said, ...]:
    """What is to be said, from the scenes as they come."""
    changed = np.flatnonzero(np.diff(stream.scenes)) + 1
    return tuple(Said(int(frame), NAMES[stream.scenes[frame]]) for frame in changed)


def _stream(rng: np.random.Generator, frames: int, noise: float) -> SceneStream:
    changes = rng.random(frames) < CHANGES
    changes[0] = False
    steps = np.where(changes, rng.integers(1, len(NAMES), frames), 0)  # to another scene, never to itself
    scenes = (rng.integers(len(NAMES)) + np.cumsum(steps)) % len(NAMES)
    tokens = (CODES[scenes] + rng.standard_normal((frames, WIDTH)) * noise).astype(np.float32)[:, None]
    said = tuple(Said(int(frame), NAMES[scenes[frame]]) for frame in np.flatnonzero(changes))
    return SceneStream(tokens, scenes, said)
