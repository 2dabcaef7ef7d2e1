"""Streams of features behind which hidden states change, for learning when to speak (VideoLLM-online, arXiv:2406.11816).

Four things have a state each, and an instruction says which of them matters and when: at once, or when its change has lasted.
So a change may be news or not, may become news later, may be taken back before it does, and may come again; the camera moves
and the light drifts. A rule that looks at how much a picture changes does badly; who reads the instruction can do all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.codes import hadamard
from serval.data.worlds.said import Said

THINGS = ("door", "lamp", "cup", "gate")
STATES = ("red", "blue", "green", "white")
HOLD = 3  # frames that a state has to be seen in a row before it has lasted
BLIPS = 0.3  # share of changes that are taken back before they have lasted
REPEATS = 0.3  # share of the others that go back to the state before
RATE = 0.1  # of a change at each frame, once the last one has lasted and one more frame has passed
MOVES = 0.05  # share of frames at which the camera moves on by one place
WIDTH = 32  # numbers of a token
CODES = hadamard(WIDTH)[1 : 1 + len(THINGS) * len(STATES)].reshape(len(THINGS), len(STATES), WIDTH)
LIGHT = hadamard(WIDTH)[-1]
_WORLD = 12


@dataclass(frozen=True, eq=False)
class LatentStream:
    """A stream and what is to be said in it.

    Attributes:
        tokens: (frames, places, 32) float32, what a model sees.
        states: (frames, 4) int64, the state of each of `THINGS`.
        shift: (frames,) int64, by how many places the camera has moved.
        gain: (frames,) float64, how bright it is.
        watched: which of `THINGS` the instruction names.
        lasting: whether it wants changes that have lasted, at the frame at which they have.
        said: what is said of itself, and what is asked and answered, in order.
        seed: of the pictures' noise.
    """

    tokens: NDArray[np.float32]
    states: NDArray[np.int64]
    shift: NDArray[np.int64]
    gain: NDArray[np.float64]
    watched: int
    lasting: bool
    instruction: str
    said: tuple[Said, ...]
    seed: tuple[int, ...]

    def pictures(self, side: int = 32, noise: float = 4.0) -> NDArray[np.uint8]:
        """(frames, side, side, 3) RGB: four discs in the colours of their states; the camera's moves turn them round."""
        y, x = np.mgrid[:side, :side] + 0.5
        made = np.full((len(self.states), side, side, 3), 90, np.float32)
        for thing in range(len(THINGS)):
            middle = ((thing // 2 + 0.5) * side / 2, (thing % 2 + 0.5) * side / 2)
            inside = np.hypot(y - middle[0], x - middle[1]) < side / 6
            made[:, inside] = _COLOURS[self.states[:, thing]][:, None]
        for frame, shift in enumerate(self.shift):
            made[frame] = np.roll(made[frame], 2 * int(shift), axis=1)
        made *= self.gain[:, None, None, None]
        grain = np.random.default_rng((*self.seed, 1)).standard_normal(made.shape, np.float32) * noise
        return np.clip(made + grain, 0, 255).astype(np.uint8)


_COLOURS = np.array([(220, 40, 40), (50, 80, 230), (40, 170, 60), (240, 240, 240)], np.float32)


def make(seed: int, count: int, frames: int = 60, places: int = 4, noise: float = 0.5, queries: int = 2) -> list[LatentStream]:
    """``count`` streams. Each thing changes about every 14 frames: four changes in five are not of what is watched, or not yet.

    Args:
        places: tokens of a frame. A thing stands in one place, and what stands in the same place is added up.
        noise: standard deviation of each number of a token, of codes made of 1 and -1; three times that where the camera moves.
        queries: questions in each stream about what a thing is, or was before.
    """
    return [_stream((_WORLD, seed, index), frames, places, noise, queries) for index in range(count)]


def oracle(stream: LatentStream) -> tuple[Said, ...]:
    """What is to be said, from the states as they come: no state is looked at before its frame."""
    questions = {each.frame: each.text for each in stream.said if each.role == "user"}
    told = int(stream.states[0, stream.watched])
    seen, run = told, 0
    made = []
    for frame, states in enumerate(stream.states):
        now = int(states[stream.watched])
        run = run + 1 if now == seen else 1
        seen = now
        if now != told and run >= (HOLD if stream.lasting else 1):
            made.append(Said(frame, _sentence(stream.watched, now)))
            told = now
        if frame in questions:
            made.append(Said(frame, questions[frame], "user"))
            thing = next(index for index, name in enumerate(THINGS) if name in questions[frame].split())
            past = stream.states[: frame + 1, thing]
            before = past[past != past[-1]]
            made.append(Said(frame, _sentence(thing, int(before[-1] if "before" in questions[frame] else past[-1]))))
    return tuple(made)


def _stream(seed: tuple[int, ...], frames: int, places: int, noise: float, queries: int) -> LatentStream:
    rng = np.random.default_rng(seed)
    watched, lasting = int(rng.integers(len(THINGS))), bool(rng.integers(2))
    histories = [_history(rng, frames) for _ in THINGS]
    states = np.stack([history for history, _ in histories], axis=1)
    changes = np.flatnonzero(np.diff(states[:, watched])) + 1
    moments = histories[watched][1] if lasting else changes
    said = [Said(int(frame), _sentence(watched, int(states[frame, watched]))) for frame in moments]
    free = np.setdiff1d(np.arange(1, frames), moments)
    for frame in sorted(rng.choice(free, min(queries, len(free)), replace=False)):
        said += _question(rng, states[: int(frame) + 1])
    said.sort(key=lambda each: each.frame)

    moved = rng.random(frames) < MOVES
    shift = np.cumsum(moved * rng.choice((-1, 1), frames))
    phase, period = rng.uniform(0, 2 * np.pi), rng.uniform(20, 60)
    gain = 1 + 0.4 * np.sin(2 * np.pi * np.arange(frames) / period + phase)
    tokens = np.zeros((frames, places, WIDTH), np.float32)
    for thing in range(len(THINGS)):
        place = (thing * places // len(THINGS) + shift) % places
        tokens[np.arange(frames), place] += CODES[thing, states[:, thing]]
    tokens = (tokens * gain[:, None, None] + (gain - 1)[:, None, None] * LIGHT).astype(np.float32)
    tokens += (
        rng.standard_normal(tokens.shape, np.float32) * np.where(moved, 3 * noise, noise).astype(np.float32)[:, None, None]
    )
    name = THINGS[watched]
    instruction = f"say when the {name} has changed for good" if lasting else f"say at once when the {name} changes"
    return LatentStream(tokens, states, shift, gain, watched, lasting, instruction, tuple(said), seed)


def _history(rng: np.random.Generator, frames: int) -> tuple[NDArray[np.int64], list[int]]:
    """A thing's state at each frame, and the frames at which a change of it has lasted."""
    state = before = int(rng.integers(len(STATES)))
    states, lasted, frame = np.full(frames, state), [], 0
    while (frame := frame + HOLD + int(rng.geometric(RATE))) < frames:
        if rng.random() < BLIPS:
            back = frame + int(rng.integers(1, HOLD))
            states[frame:back] = rng.choice([each for each in range(len(STATES)) if each != state])
            frame = back
            continue
        again = before != state and rng.random() < REPEATS
        new = [each for each in range(len(STATES)) if each not in (state, before)]
        state, before = before if again else int(rng.choice(new)), state
        states[frame:] = state
        if frame + HOLD <= frames:
            lasted.append(frame + HOLD - 1)
    return states, lasted


def _question(rng: np.random.Generator, past: NDArray[np.int64]) -> list[Said]:
    """What a thing is, or what it was before if it ever was something else. ``past``: states up to now."""
    frame, thing = len(past) - 1, int(rng.integers(len(THINGS)))
    own = past[:, thing]
    others = own[own != own[-1]]
    before = len(others) > 0 and bool(rng.integers(2))
    text = f"what was the {THINGS[thing]} before" if before else f"what is the {THINGS[thing]}"
    return [Said(frame, text, "user"), Said(frame, _sentence(thing, int(others[-1] if before else own[-1])))]


def _sentence(thing: int, state: int) -> str:
    return f"{THINGS[thing]} is {STATES[state]}"
