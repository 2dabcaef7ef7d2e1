"""Streams of two towers, each of which sees one cue (LION-FS, arXiv:2503.03663): general features what a thing is, egocentric
ones whether it is still being moved. In each clip one of them is misled in half of its places, and general CLS tells which.

A model has to name the thing at the moment at which it is put down. It needs both towers, and at each place the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.codes import hadamard
from serval.data.worlds.said import Said

NAMES = ("knife", "bowl", "spoon", "plate", "glass", "towel")
KINDS = (("general", "first"), ("general", "second"), ("ego", "first"), ("ego", "second"))  # who is misled, and where
TOKENS, WIDTH = 10, 32  # of a frame, CLS first; numbers of a token
REST, MOVING = (3, 6), (3, 8)  # frames before a move and in one, drawn evenly; the upper bounds are left out
PLANTED = 3  # informative tokens of a frame

_CODES = hadamard(WIDTH)
OBJECT_CODES, PHASE_CODES, KIND_CODES = _CODES[1:7], _CODES[7:9], _CODES[9:13]  # phases: still, moving
CLUTTER = _CODES[16:]
HALVES = {"first": slice(1, 5), "second": slice(5, 9)}  # the last place holds no cue
_WORLD = 13


@dataclass(frozen=True, eq=False)
class TwoCueClip:
    """A clip at two frames a second. An egocentric frame stands for the quarter seconds up to it, so nothing comes too early.

    Attributes:
        general, ego: (frames, 10, 32) float32, what each tower gives.
        objects: (frames,) int64 into `NAMES`: what is in hand, or will be next.
        moving: (frames,) bool.
        misled: the tower that is misled.
        misled_half: where it shows another object, or another clip's moves.
        said: the object's name at the first still frame after each move.
    """

    general: NDArray[np.float32]
    ego: NDArray[np.float32]
    objects: NDArray[np.int64]
    moving: NDArray[np.bool_]
    misled: str
    misled_half: str
    said: tuple[Said, ...]

    @property
    def sound(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(10,) each: places at which general and egocentric features tell the truth."""
        made = []
        for tower in ("general", "ego"):
            places = np.zeros(TOKENS, bool)
            places[1:9] = True
            if tower == self.misled:
                places[HALVES[self.misled_half]] = False
            made.append(places)
        return made[0], made[1]


@dataclass(frozen=True, eq=False)
class PlantedClip:
    """A clip of one tower in which few tokens say anything, for the check of dropped tokens.

    Attributes:
        tokens: (frames, 10, 32) float32. All are as long as one another but for the noise.
        informative: (frames, 10) bool, new places in each frame; the others are clutter.
    """

    tokens: NDArray[np.float32]
    informative: NDArray[np.bool_]
    objects: NDArray[np.int64]
    moving: NDArray[np.bool_]
    said: tuple[Said, ...]


def make(seed: int, count: int, frames: int = 40, noise: float = 0.5) -> list[TwoCueClip]:
    """``count`` clips, the four `KINDS` in turn.

    Args:
        noise: standard deviation of each number of a token, of codes made of 1 and -1.
    """
    return [_clip(np.random.default_rng((_WORLD, seed, index)), frames, noise, index % len(KINDS)) for index in range(count)]


def make_planted(seed: int, count: int, frames: int = 40, noise: float = 0.5, planted: int = PLANTED) -> list[PlantedClip]:
    """``count`` clips with ``planted`` of the ten tokens of each frame informative."""
    made = []
    for index in range(count):
        rng = np.random.default_rng((_WORLD, seed, index, 1))
        objects, moving, said = _moves(rng, frames)
        informative = rng.permuted(np.arange(TOKENS) < planted * np.ones((frames, 1)), axis=1)
        cue = OBJECT_CODES[objects] + PHASE_CODES[moving.astype(int)]
        pairs = rng.permuted(np.tile(np.arange(len(CLUTTER)), (frames * TOKENS, 1)), axis=1)[:, :2]
        clutter = CLUTTER[pairs].sum(1).reshape(frames, TOKENS, WIDTH)
        tokens = np.where(informative[..., None], cue[:, None], clutter) + _grain(rng, clutter.shape, noise)
        made.append(PlantedClip(tokens, informative, objects, moving, said))
    return made


def oracle(clip: TwoCueClip | PlantedClip) -> tuple[Said, ...]:
    """What is to be said, from the object and the moves as they come."""
    ends = np.flatnonzero(clip.moving[:-1] & ~clip.moving[1:]) + 1
    return tuple(Said(int(end), _sentence(int(clip.objects[end]))) for end in ends)


def _clip(rng: np.random.Generator, frames: int, noise: float, kind: int) -> TwoCueClip:
    misled, half = KINDS[kind]
    objects, moving, said = _moves(rng, frames)
    general, ego = (_grain(rng, (frames, TOKENS, WIDTH), noise) for _ in range(2))
    general[:, 0] += KIND_CODES[kind]
    general[:, 1:9] += OBJECT_CODES[objects][:, None]
    ego[:, 1:9] += PHASE_CODES[moving.astype(int)][:, None]
    if misled == "general":
        other = (objects + _others(rng, objects)) % len(NAMES)
        general[:, HALVES[half]] += (OBJECT_CODES[other] - OBJECT_CODES[objects])[:, None]
    else:
        _, other_moving, _ = _moves(rng, frames)
        wrong = PHASE_CODES[other_moving.astype(int)] - PHASE_CODES[moving.astype(int)]
        ego[:, HALVES[half]] += wrong[:, None]
    return TwoCueClip(general, ego, objects, moving, misled, half, said)


def _moves(rng: np.random.Generator, frames: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], tuple[Said, ...]]:
    objects, moving, said, frame = np.zeros(frames, np.int64), np.zeros(frames, bool), [], 0
    while frame < frames:
        start = frame + int(rng.integers(*REST))
        end = start + int(rng.integers(*MOVING))
        objects[frame:] = rng.integers(len(NAMES))
        moving[start:end] = True
        if end < frames:
            said.append(Said(end, _sentence(int(objects[end]))))
        frame = end + 1  # the next object comes into view only after this one has been put down
    return objects, moving, tuple(said)


def _others(rng: np.random.Generator, objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """(frames,) how far from each object another one is, the same as long as the object stays."""
    run = np.cumsum(np.diff(objects, prepend=objects[:1]) != 0)
    return rng.integers(1, len(NAMES), run[-1] + 1)[run]


def _grain(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32) * np.float32(noise)


def _sentence(thing: int) -> str:
    return f"{NAMES[thing]} put down"
