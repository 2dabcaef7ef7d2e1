"""VITA's check: what teaches it to keep silent, and what two lanes are worth when somebody interrupts, or something rustles."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean

import numpy as np

from serval.arena.experiment import Claim, Experiment, Measure
from serval.arena.fit import fit
from serval.assistant.listening.duplex import Action, Duplex, SpeechQueue
from serval.data.worlds.requests import CODES
from serval.systems.assistants.spoken_requests import requests
from serval.systems.assistants.vita import SYSTEM, VITA, Ask, State, as_turns
from serval.training.batches import Batches, shuffled_as
from serval.training.objectives.next_token import NextToken
from serval.training.stage import Rate, Stage

STEPS, TRAINED, TESTED = 250, 256, 60
_TINY = SYSTEM.sizes["tiny"].model_copy(update={"ears": CODES})

ARMS = {
    "state and words": "the paper's: what is not for it gets a state, at which it stops, and words are learnt behind it",
    "end": "what is not for it gets the end alone",
    "always": "only what is for it is learnt, so it answers everything",
    "two lanes": "simulated: it speaks on while another lane finds out what came in",
    "one lane": "simulated: it stops for whatever comes in, and goes on if that was nothing; half the memory",
}


@cache
def _requests(seed: int, streams: int, side: int) -> list[Ask]:
    return requests(2 * seed + side, streams, codes=True)


def _state(ask: Ask) -> State:
    state = _TINY.layout.state(ask.reply)
    assert state is not None
    return state


def _taught(arm: str, asks: list[Ask]) -> list[Ask]:
    if arm == "always":
        return [ask for ask in asks if _state(ask) is not State.NOT_FOR_ME]
    if arm == "end":
        return [replace(ask, reply=ask.reply[-1:]) if _state(ask) is State.NOT_FOR_ME else ask for ask in asks]
    return asks


def run(arm: str, seed: int, quick: bool) -> Mapping[str, float]:
    if arm.endswith(("lane", "lanes")):
        return overheard(seed, halts=arm == "one lane", minutes=1 if quick else 10)
    trained = _taught(arm, _requests(seed, TRAINED, 0))
    tested = _requests(seed, TESTED, 1)[: 16 if quick else None]

    def build() -> VITA:
        model = SYSTEM.new(_TINY, seed=seed)
        assert isinstance(model, VITA)
        return model

    def data(stage: Stage) -> Batches:
        return shuffled_as("asks", trained, stage.batch, seed=seed)

    steps = STEPS // 25 if quick else STEPS
    stage = Stage("requests", {"*": Rate(3e-3)}, "asks", NextToken(sequence=as_turns), steps=steps, batch=24, warmup=0.05)
    began = time.monotonic()
    model = fit(build, [stage], data, seed)
    return _judged(model, tested) | {"train s": time.monotonic() - began}


def _judged(model: VITA, tested: list[Ask]) -> dict[str, float]:
    spoke: dict[State, list[bool]] = {state: [] for state in State}
    right: dict[State, list[bool]] = {state: [] for state in State}
    for ask, said in zip(tested, model.answers(tested, most=4), strict=True):
        state = _state(ask)
        spoke[state].append(bool(said) and _TINY.layout.state(said) is not State.NOT_FOR_ME)
        right[state].append(said[-1:] == list(ask.reply[-2:-1]))

    def percent(found: list[bool]) -> float:
        return 100 * fmean(found) if found else float("nan")

    return {
        "false": percent(spoke[State.NOT_FOR_ME]),
        "missed": 100 - percent(spoke[State.QUESTION]),
        "answers": percent(right[State.QUESTION]),
        "typed": percent(right[State.TYPED]),
    }


# -- who is heard, second by second ---------------------------------------------------------------------------------------

PAUSE, READ, TOKEN, WORD = 50, 20, 5, 30  # hundredths: to know that somebody is done, to judge it, to make and to say a word


@dataclass(frozen=True)
class Sounding:
    """Something at the microphone."""

    end: int  # hundredths of a second, as all times here
    question: bool
    words: int  # of the answer


def script(seed: int, minutes: float) -> list[Sounding]:
    """What comes to a microphone: questions and as many noises again by half, often while the last answer is spoken."""
    rng = np.random.default_rng((24, seed))
    made, now = [], 0.0
    while now < 60 * minutes:
        now += float(rng.exponential(3.0) + rng.uniform(0.6, 2.0))
        made.append(Sounding(round(100 * now), bool(rng.random() < 0.4), int(rng.integers(8, 30))))
    return made


def overheard(seed: int, *, halts: bool, minutes: float = 10) -> dict[str, float]:
    """Who is heard when, hundredth by hundredth of a second.

    Args:
        halts: the speaker stops for whatever comes in, and reads its own question again if that was nothing.
    """
    coming, duplex, voice = script(seed, minutes), Duplex[Sounding](), SpeechQueue[int]()
    judged_at = next_at = word_ends = halted_until = 0
    left, playing = 0, None  # words still to be made; the turn whose word sounds
    silences, firsts, late, pauses = list[int](), list[int](), 0, list[float]()
    interrupted: int | None = None  # when the question ended whose answer is awaited
    heard_in: dict[int, list[int]] = {}
    noises: dict[int, int] = {}
    for now in range(round(6000 * (minutes + 1))):
        actions: list[Action[Sounding]] = []
        while coming and coming[0].end + PAUSE <= now:
            actions += duplex.heard(coming.pop(0))
        if duplex.judging is not None and judged_at and judged_at <= now:
            judged_at = 0
            request = duplex.request(duplex.judging)
            if not request.question and halts:
                halted_until = now + READ
            actions += duplex.judged(request.question)
        for action in actions:
            if action.does == "judge":
                judged_at = now + READ
                halted_until = max(halted_until, judged_at) if halts else 0
                if duplex.speaking is not None and not action.request.question:
                    noises[duplex.speaking.number] = noises.get(duplex.speaking.number, 0) + 1
                if halts and playing is not None and action.request.question:
                    silences.append(now - action.request.end)
                playing = None if halts else playing
            elif action.does == "speak":
                voice.begin(action.turn.number)
                if playing is not None:  # the word that sounds is cut off
                    silences.append(now - action.request.end)
                    playing = None
                left, next_at, interrupted = action.request.words, now + TOKEN, action.request.end
        speaking = duplex.speaking
        if speaking is not None and now >= max(next_at, halted_until) and left and voice.put(speaking.number, speaking.number):
            left, next_at = left - 1, now + TOKEN
        if playing is not None and word_ends <= now:
            playing = None
        if playing is None and now >= halted_until and (number := voice.take()) is not None:
            playing, word_ends = number, now + WORD
            late += speaking is not None and number != speaking.number
            heard_in.setdefault(number, []).append(now)
            if interrupted is not None:
                firsts.append(now - interrupted)
                interrupted = None
        if speaking is not None and not left and not len(voice) and playing is None and now >= halted_until:
            spoken = heard_in[speaking.number]
            if noises.get(speaking.number):
                pauses.append((spoken[-1] - spoken[0] - WORD * (len(spoken) - 1)) / noises[speaking.number])
            duplex.ended(speaking.number)
    return {
        "silent s": fmean(silences) / 100,
        "first word s": fmean(firsts) / 100,
        "old words": float(late),
        "pause s": fmean(pauses) / 100 if pauses else 0.0,
    }


EXPERIMENT = Experiment(
    slug="vita",
    question="Questions, and what is none or is for somebody else, come as codes of sound or as text. What teaches a model to "
    "answer the ones and to be silent at the others; and who is heard when a question, or a noise, comes while it speaks?",
    arms=ARMS,
    measures=[
        Measure("false", "%", 1),
        Measure("missed", "%", 1),
        Measure("answers", "%", 1),
        Measure("typed", "%", 1),
        Measure("silent s", "s"),
        Measure("first word s", "s"),
        Measure("old words", decimals=0),
        Measure("pause s", "s"),
        Measure("train s", decimals=0),
    ],
    claims=[
        Claim("with a state, it answers fewer things that are not for it", "false", "state and words", "always", lower=True),
        Claim("no more of them than when silence is the end", "false", "state and words", "end", lower=True, slack=2.0),
        Claim("and words behind the state keep answers as right as that", "answers", "state and words", "end"),
        Claim("learning to be silent costs no answers", "answers", "state and words", "always", slack=5.0),
        Claim("once a new answer began, no word of the old one is heard", "old words", "two lanes", 0.0, lower=True),
        Claim("noise does not make two lanes pause", "pause s", "two lanes", 0.0, lower=True),
        Claim("it makes one lane pause longer", "pause s", "two lanes", "one lane", lower=True),
        Claim("two lanes have their first word no later", "first word s", "two lanes", "one lane", lower=True),
        Claim("and are silent no later", "silent s", "two lanes", "one lane", lower=True),
    ],
    run=run,
)
