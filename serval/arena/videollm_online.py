"""VideoLLM-online's check: is silence worth a term of the loss? Against words alone, and against a turn at every frame."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch

from serval.arena.experiment import Claim, Experiment, Measure
from serval.arena.fit import fit
from serval.arena.streaming import alone, told
from serval.conversation.sequence import IGNORED
from serval.data.worlds import scene_codes
from serval.data.worlds.streams import from_scenes, scene_words
from serval.systems.assistants.videollm_online import SYSTEM, VideoLLMOnline
from serval.training.batches import Batches, shuffled_as
from serval.training.objectives.balance import SILENT, SPEAK
from serval.training.objectives.streaming import Streaming
from serval.training.stage import Rate, Stage
from serval.training.stream_sample import StreamSample, Words, as_streams

STEPS, TRAINED, TESTED = 300, 512, 12
_TINY = SYSTEM.sizes["tiny"]
_END = 0
_WAIT = scene_words().size  # what a model that has to say something at every frame says where there is nothing to say


@cache
def _samples(seed: int, count: int, side: int) -> list[StreamSample]:
    return [from_scenes(each, scene_words(), _END) for each in scene_codes.make(2 * seed + side, count)]


def _words_only(sample: StreamSample) -> StreamSample:
    return replace(sample, decisions=sample.decisions.masked_fill(sample.decisions == SILENT, IGNORED))


def _waits(sample: StreamSample) -> StreamSample:
    spoken = {words.frame: words for words in sample.words}
    turns = [spoken.get(frame, Words(frame, "assistant", (_WAIT, _END))) for frame in range(len(sample))]
    return replace(sample, decisions=torch.full((len(sample),), SPEAK), words=tuple(turns))


ARMS = {
    "silence": "the paper's: behind each frame, silence or speech is learnt",
    "words only": "only what is said is learnt, and that it follows: silence is taught by nothing",
    "wait turns": "a turn at every frame, which says wait where there is nothing to say",
}
_CHANGE = {"silence": lambda sample: sample, "words only": _words_only, "wait turns": _waits}


def run(arm: str, seed: int, quick: bool) -> Mapping[str, float]:
    change = _CHANGE[arm]
    trained = [change(each) for each in _samples(seed, TRAINED, 0)]
    tested = _samples(seed, TESTED, 1)[: 4 if quick else None]

    def build() -> VideoLLMOnline:
        model = SYSTEM.new(seed=seed)
        assert isinstance(model, VideoLLMOnline)
        return model

    def data(stage: Stage) -> Batches:
        return shuffled_as("streams", trained, stage.batch, seed=seed)

    objective = Streaming(_TINY.layout.sentinels, sequence=as_streams)
    stage = Stage("fast", {"*": Rate(3e-3)}, "streams", objective, steps=STEPS // 10 if quick else STEPS, batch=8, warmup=0.05)
    began = time.monotonic()
    model = fit(build, [stage], data, seed)
    seconds = time.monotonic() - began
    tokens = [as_streams(model, [change(each)]).length / len(each) for each in tested]
    found = {"tokens/frame": sum(tokens) / len(tokens), "train s": seconds}
    if arm == "wait turns":
        return found | _alone_with_waits(model, tested)
    return found | told(model, tested) | alone(model, tested)


def _alone_with_waits(model: VideoLLMOnline, samples: Sequence[StreamSample]) -> dict[str, float]:
    """It speaks at every frame, and what begins with wait does not count."""
    model.config = model.config.model_copy(update={"threshold": 2.0})  # silence is never sure enough
    return alone(model, samples, unsaid=_WAIT) | {"LM-PPL": told(model, [_waits(each) for each in samples])["LM-PPL"]}


EXPERIMENT = Experiment(
    slug="videollm-online",
    question="Scenes change at random times, and the new one is named at once. Is silence worth a term of the loss?",
    arms=ARMS,
    measures=[
        Measure("LM-PPL", decimals=3),
        Measure("TimeDiff", "s"),
        Measure("Fluency", "%", 1),
        Measure("Correctness", "%", 1),
        Measure("F1", "%", 1),
        Measure("delay", "s"),
        Measure("words/min", decimals=0),
        Measure("tokens/frame"),
        Measure("train s", decimals=0),
    ],
    claims=[
        Claim("with silence taught, moments are closer", "TimeDiff", "silence", "words only", lower=True),
        Claim("with silence taught, more of the stream is right", "Fluency", "silence", "words only"),
        Claim("alone, it says the right thing in time more often than a model of words", "F1", "silence", "words only"),
        Claim("and no less often than with a turn at every frame", "F1", "silence", "wait turns"),
        Claim("at fewer tokens a frame than a turn at every frame", "tokens/frame", "silence", "wait turns", lower=True),
        Claim("in which words are no less certain", "LM-PPL", "silence", "wait turns", lower=True, slack=0.05),
    ],
    run=run,
)
