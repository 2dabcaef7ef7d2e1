"""What a microphone and a keyboard bring an assistant, much of it not for it, for VITA's state tokens (arXiv:2408.05211).

Questions follow a small grammar and have one right answer. Beside them stand sounds that only look like questions in one way or
another: babble, statements made of the same words, questions that somebody else asks somebody else, and noise.

The sound is **not speech**: every letter is a steady vowel of three formants or a band of noise, so that what was said can be
told from it, and by whom, as it can from speech. `microphone` takes any other voice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # samples a second
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
KINDS = {"question": 0.4, "typed": 0.2, "babble": 0.1, "statement": 0.1, "aside": 0.1, "noise": 0.1}  # how often each is drawn
QUESTION, NOT_FOR_ME, TYPED = 1, 2, 3  # VITA's <1>, <2>, <3>
LETTERS = "abcdefghijklmnopqrstuvwxyz "
NOISES = ("hum", "hiss", "knocks")
CODES = 2 * len(LETTERS) + len(NOISES)
_WORLD = 15

Voice = Callable[[str, int], NDArray[np.float32]]
"""Words and who says them (0: the user, 1: somebody else) to samples at 16 kHz, between -1 and 1."""


@dataclass(frozen=True)
class Request:
    """Something said, typed or heard.

    Attributes:
        kind: of `KINDS`.
        words: what is said; the kind of noise where it is none.
        speaker: 0 is the user, 1 somebody else.
        gap: seconds of silence before it.
        state: `QUESTION`, `NOT_FOR_ME` or `TYPED`.
        answer: what is to be said, nothing if it was not for the assistant.
        seed: of its noise.
    """

    kind: str
    words: str
    speaker: int
    gap: float
    state: int
    answer: str
    seed: tuple[int, ...]

    @property
    def codes(self) -> NDArray[np.int64]:
        """(count,) below `CODES`: the sound without sound. A letter's code is another one in somebody else's mouth, and nothing
        typed has any."""
        if self.kind == "typed":
            return np.zeros(0, np.int64)
        if self.kind == "noise":
            return np.full(20, 2 * len(LETTERS) + NOISES.index(self.words))
        return np.array([LETTERS.index(letter) + self.speaker * len(LETTERS) for letter in self.words])


def make(seed: int, count: int, requests: int = 8) -> list[tuple[Request, ...]]:
    """``count`` streams of ``requests`` requests, kinds drawn as in `KINDS`, with 0.8 to 2.5 s of silence before each."""
    return [tuple(_request((_WORLD, seed, index, each)) for each in range(requests)) for index in range(count)]


def oracle(request: Request) -> tuple[int, str]:
    """State and answer, from what was said, how, and by whom."""
    answer = solve(request.words)
    if request.kind == "typed":
        return TYPED, answer
    return (QUESTION, answer) if answer and request.speaker == 0 else (NOT_FOR_ME, "")


def solve(words: str) -> str:
    """The answer to a question of the grammar; "" for anything else."""
    match words.split():
        case ["what", "comes", "after", number]:
            return NUMBERS[NUMBERS.index(number) + 1]
        case ["what", "comes", "before", number]:
            return NUMBERS[NUMBERS.index(number) - 1]
        case ["what", "is", left, "plus", right]:
            return NUMBERS[NUMBERS.index(left) + NUMBERS.index(right)]
    return ""


def microphone(
    requests: Sequence[Request], voice: Voice | None = None
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """One stretch of sound, and from when to when, in seconds, each request is in it; what is typed takes no time.

    Args:
        voice: who speaks; formants of ours if nobody is given.
    """
    sounds, spans, length = [], [], 0
    for request in requests:
        silence = np.zeros(round(request.gap * RATE), np.float32)
        sound = _sound(request, voice or formants)
        start = length + len(silence)
        length = start + len(sound)
        sounds += [silence, sound]
        spans.append((start / RATE, length / RATE))
    wave = np.concatenate(sounds)
    seed = requests[0].seed if requests else (_WORLD,)
    return wave + np.random.default_rng((*seed, 2)).standard_normal(len(wave), np.float32) * np.float32(0.003), spans


def formants(words: str, speaker: int) -> NDArray[np.float32]:
    """Letters as sounds, 50 to 80 ms each: not speech, see above."""
    return np.concatenate([_letter(letter, speaker) for letter in words])


def _request(seed: tuple[int, ...]) -> Request:
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    gap = float(rng.uniform(0.8, 2.5))
    question, statement = _sentences(rng)
    if kind in ("question", "typed"):
        return Request(kind, question, 0, gap, QUESTION if kind == "question" else TYPED, solve(question), seed)
    words = {"aside": question, "statement": statement, "babble": "".join(rng.permutation(list(question)))}
    return Request(kind, words.get(kind, str(rng.choice(NOISES))), int(kind == "aside"), gap, NOT_FOR_ME, "", seed)


def _sentences(rng: np.random.Generator) -> tuple[str, str]:
    """A question, and the statement that answers it."""
    which = int(rng.integers(3))
    if which == 2:
        left, right = (int(each) for each in rng.integers(7, size=2))
        terms = f"{NUMBERS[left]} plus {NUMBERS[right]}"
        return f"what is {terms}", f"{terms} is {NUMBERS[left + right]}"
    number, word = int(rng.integers(1, 12)), ("after", "before")[which]
    question = f"what comes {word} {NUMBERS[number]}"
    return question, f"{solve(question)} comes {word} {NUMBERS[number]}"


def _sound(request: Request, voice: Voice) -> NDArray[np.float32]:
    if request.kind == "typed":
        return np.zeros(0, np.float32)
    if request.kind != "noise":
        return voice(request.words, request.speaker)
    rng = np.random.default_rng((*request.seed, 1))
    time = np.arange(round(rng.uniform(0.8, 1.8) * RATE)) / RATE
    if request.words == "hum":
        sound = sum(np.sin(2 * np.pi * 50 * each * time) / each for each in (1, 2, 3, 5)) * 0.15
    elif request.words == "hiss":
        sound = rng.normal(0, 0.1, len(time))
    else:
        since = time[:, None] - np.sort(rng.uniform(0, time[-1], 5))
        sound = (np.where(since >= 0, np.exp(-40 * np.abs(since)), 0) * np.sin(2 * np.pi * 180 * since)).sum(1) * 0.3
    return np.asarray(sound, np.float32)


_FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_CONSONANTS = sorted(set(LETTERS) - set(_FORMANTS) - {" "})
_PITCH, _TRACT = (120.0, 210.0), (1.0, 1.17)  # Hz, and how far formants are up, of the user and of somebody else


@cache
def _letter(letter: str, speaker: int) -> NDArray[np.float32]:
    if letter == " ":
        return np.zeros(round(0.06 * RATE), np.float32)
    if letter in _FORMANTS:
        time = np.arange(round(0.08 * RATE)) / RATE
        harmonics = np.arange(1, int(4000 / _PITCH[speaker])) * _PITCH[speaker]
        peaks = np.array(_FORMANTS[letter]) * _TRACT[speaker]
        loud = (1 / (1 + ((harmonics[:, None] - peaks) / 80) ** 2)).sum(1)
        sound = loud @ np.sin(2 * np.pi * harmonics[:, None] * time)
    else:
        time = np.arange(round(0.05 * RATE)) / RATE
        place = _CONSONANTS.index(letter)
        centre = 900 * 7 ** (place / (len(_CONSONANTS) - 1)) * _TRACT[speaker]
        rng = np.random.default_rng((_WORLD, place))
        tones = centre * rng.uniform(0.94, 1.06, 12)
        sound = np.sin(2 * np.pi * (tones[:, None] * time + rng.random((12, 1)))).sum(0)
    fade = np.minimum(1, np.minimum(np.arange(len(time)), np.arange(len(time))[::-1]) / (0.005 * RATE))
    return np.asarray(sound / np.abs(sound).max() * 0.3 * fade, np.float32)
