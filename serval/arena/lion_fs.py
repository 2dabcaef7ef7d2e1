"""LION-FS's checks: two towers in ten tokens, half of the tokens in half of the layers, and a close look before an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from serval.arena.experiment import Claim, Experiment, Measure
from serval.arena.fit import fit
from serval.arena.streaming import alone, told
from serval.connectors.soft_router import SoftRouter
from serval.data.worlds import hand_streams, two_cues
from serval.data.worlds.hand_streams import HandStream
from serval.data.worlds.streams import (
    FPS,
    from_hands,
    from_planted,
    from_two_cues,
    hand_words,
    two_cue_words,
)
from serval.language.live_stream import LiveStream
from serval.language.token_skipping import TokenSkipping
from serval.media.box import Box
from serval.systems.assistants.lion_fs import SYSTEM, Config, LionFS, stages
from serval.training.batches import Batches, shuffled_as
from serval.training.stage import Stage
from serval.training.stream_sample import StreamSample, as_streams

STEPS, BATCH, RATE = 120, 4, 5e-3
TRAINED, TESTED, FRAMES = 512, 12, 24
HAND_STEPS, HAND_BATCH = 300, 8  # of the shorter streams with a hand; one model serves all three looks
_TINY = SYSTEM.sizes["tiny"]
_END = 0
GENERAL, EGO = _TINY.eyes

ENCODERS: Mapping[str, tuple[slice, Config]] = {
    "general only": (slice(0, 1), _TINY.model_copy(update={"eyes": (GENERAL,), "mixing": "add", "share": 0.0})),
    "ego only": (slice(1, 2), _TINY.model_copy(update={"eyes": (EGO,), "mixing": "add", "share": 0.0})),
    "concat": (slice(2), _TINY.model_copy(update={"mixing": "concat", "share": 0.0})),
    "add": (slice(2), _TINY.model_copy(update={"mixing": "add", "share": 0.0})),
    "static": (slice(2), _TINY.model_copy(update={"mixing": "static", "share": 0.0})),
    "router": (slice(2), _TINY.model_copy(update={"share": 0.0})),
}
"""Which towers, and how they are mixed; nothing is dropped."""

_ONE = _TINY.model_copy(update={"eyes": (GENERAL,), "mixing": "add"})
DROPPING: Mapping[str, Config] = {
    "no dropping": _ONE.model_copy(update={"share": 0.0}),
    "random half": _ONE,
    "learned half": _ONE,
}

LOOKS = ("fast only", "grid", "grid and boxes")

ARMS = {
    "general only": "two cues: one tower, 10 tokens",
    "ego only": "two cues: the other tower, 10 tokens",
    "concat": "two cues: both towers' tokens one behind the other, 20",
    "add": "two cues: both towers' tokens added, 10",
    "static": "two cues: weights for each place that are the same for all frames, 10",
    "router": "two cues: the paper's: weights for each place from the frame's general token, 10",
    "no dropping": "planted tokens: all layers read all 10 tokens",
    "random half": "planted tokens: every second layer reads 5 of 10, drawn at random",
    "learned half": "planted tokens: the paper's: every second layer reads the 5 of 10 that its router likes",
    "fast only": "hands: the words follow the frame as it was read, 3 by 3",
    "grid": "hands: the same model, shown the frame's four quarters first",
    "grid and boxes": "hands: the same model, shown the quarters, the hand and what it is at",
}


def run(arm: str, seed: int, quick: bool) -> Mapping[str, float]:
    if arm in ENCODERS:
        return _encoders(arm, seed, quick)
    return _dropping(arm, seed, quick) if arm in DROPPING else _looks(arm, seed, quick)


def _fitted(
    config: Config,
    samples: Sequence[StreamSample],
    seed: int,
    quick: bool,
    change: Callable[[LionFS], None] | None = None,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
) -> tuple[LionFS, float]:
    """The model, and the seconds that it took to train."""

    def build() -> LionFS:
        model = SYSTEM.new(config, seed=seed)
        assert isinstance(model, LionFS)
        if change is not None:
            change(model)
        return model

    def data(stage: Stage) -> Batches:
        return shuffled_as("streams", samples, stage.batch, seed=seed)

    made = stages(config, learning_rate=RATE, steps=steps // 10 if quick else steps, batch=batch)
    began = time.monotonic()
    model = fit(build, made, data, seed)
    return model, time.monotonic() - began


def _scores(model: LionFS, samples: Sequence[StreamSample]) -> dict[str, float]:
    return told(model, samples) | alone(model, samples) | _cost(model, samples)


# Two towers


@cache
def _cues(seed: int, count: int) -> list[two_cues.TwoCueClip]:
    return two_cues.make(seed, count, FRAMES)


def _encoders(arm: str, seed: int, quick: bool) -> dict[str, float]:
    seen, config = ENCODERS[arm]
    trained, tested = (
        [replace(made, features=made.features[seen]) for made in (from_two_cues(clip, two_cue_words(), _END) for clip in clips)]
        for clips in (_cues(2 * seed, TRAINED), _cues(2 * seed + 1, TESTED))
    )
    model, seconds = _fitted(config, trained, seed, quick)
    found = _scores(model, tested[: 4 if quick else None]) | {"train s": seconds}
    return found | _weights(model, _cues(2 * seed + 1, TESTED)) if arm in ("static", "router") else found


@torch.inference_mode()
def _weights(model: LionFS, clips: Sequence[two_cues.TwoCueClip]) -> dict[str, float]:
    """The mean weight of the general tower in the half where one of both is misled, for each kind of clip."""
    found: dict[str, list[Tensor]] = {}
    for clip in clips:
        seen = [torch.from_numpy(clip.general), torch.from_numpy(clip.ego)]
        mixer = model.bank.mixer
        assert isinstance(mixer, SoftRouter)
        weights = mixer.weights(model.sources(seen))
        half = weights[:, two_cues.HALVES[clip.misled_half], 0]
        found.setdefault(f"A, {clip.misled} misled, {clip.misled_half} half", []).append(half.mean())
    return {kind: torch.stack(each).mean().item() for kind, each in found.items()}


# Half of the tokens


class _Chance(nn.Module):
    """A router that knows nothing."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = torch.Generator().manual_seed(seed)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.rand((*hidden.shape[:-1], 1), generator=self.random)


def _dropping(arm: str, seed: int, quick: bool) -> dict[str, float]:
    def change(model: LionFS) -> None:
        for number, layer in enumerate(model.decoder.layers):
            if arm == "random half" and isinstance(layer, TokenSkipping):
                layer.router = _Chance(1000 * seed + number)

    trained, tested = _plants(2 * seed, TRAINED), _plants(2 * seed + 1, TESTED)
    samples = [from_planted(clip, two_cue_words(), _END) for clip in trained]
    model, seconds = _fitted(DROPPING[arm], samples, seed, quick, change)
    asked = [from_planted(clip, two_cue_words(), _END) for clip in tested]
    return _scores(model, asked[: 4 if quick else None]) | {"kept": _kept(model, tested), "train s": seconds}


@cache
def _plants(seed: int, count: int) -> list[two_cues.PlantedClip]:
    return two_cues.make_planted(seed, count, FRAMES)


@torch.inference_mode()
def _kept(model: LionFS, clips: Sequence[two_cues.PlantedClip]) -> float:
    """Per cent of the informative tokens that the layers read which skip some."""
    shares = []
    for clip in clips:
        sample = replace(from_planted(clip, two_cue_words(), _END), words=())
        sequence = as_streams(model, [sample])
        informative = sequence.source[0] >= 0
        informative[informative.clone()] = torch.from_numpy(clip.informative).flatten()
        shares += [passed[informative].float().mean() for passed in _read(model, [sample])[::2]]
    return 100 * torch.stack(shares).mean().item()


def _read(model: LionFS, samples: Sequence[StreamSample]) -> list[Tensor]:
    """(tokens,) bool for each layer, of one stream: which it reads."""
    sequence = as_streams(model, samples)
    passed: list[Tensor] = []
    layers = [layer.layer if isinstance(layer, TokenSkipping) else layer for layer in model.decoder.layers]
    hooks = [layer.register_forward_pre_hook(lambda _, given: passed.append(given[1].sequence.position[0])) for layer in layers]
    model.read(sequence)
    for hook in hooks:
        hook.remove()
    return [torch.isin(sequence.position[0], each) for each in passed]


@torch.inference_mode()
def _cost(model: LionFS, samples: Sequence[StreamSample]) -> dict[str, float]:
    """Positions that a layer reads for each frame, words among them, and what the decoder computes for it."""
    positions = sum(int(layer.sum()) for sample in samples for layer in _read(model, [sample]))
    frames = sum(map(len, samples))
    with FlopCounterMode(display=False) as counter:
        for sample in samples:
            model.read(as_streams(model, [sample]))
    return {
        "positions/frame": positions / len(model.decoder.layers) / frames,
        "MFLOP/frame": counter.get_total_flops() / frames / 1e6,
    }


# A close look


@cache
def _hands(seed: int, count: int, closer: float) -> list[HandStream]:
    return hand_streams.make(seed, count, closer=closer)


@cache
def _handy(seed: int, quick: bool) -> tuple[LionFS, float]:
    """One model for all three looks: nothing of the slow path is trained."""
    samples = [from_hands(stream, hand_words(), _END) for stream in _hands(2 * seed, TRAINED, 0.5)]
    return _fitted(_TINY, samples, seed, quick, steps=HAND_STEPS, batch=HAND_BATCH)


def _looks(arm: str, seed: int, quick: bool) -> dict[str, float]:
    model, seconds = _handy(seed, quick)
    tested = _hands(2 * seed + 1, 2 * TESTED, 0.0)[: 4 if quick else None]
    samples = [from_hands(stream, hand_words(), _END) for stream in tested]
    plain = [_followed(model, sample, stream, "fast only") for sample, stream in zip(samples, tested, strict=True)]
    found = [_followed(model, sample, stream, arm) for sample, stream in zip(samples, tested, strict=True)]
    same = torch.cat([ours.decided == theirs.decided for ours, theirs in zip(found, plain, strict=True)])
    right = [each for follow in found for each in follow.right]
    return told(model, samples) | {
        "answers": 100 * sum(right) / len(right),
        "same decisions": 100 * same.float().mean().item(),
        "train s": seconds,
    }


@dataclass(frozen=True)
class _Followed:
    """(frames,) how likely it was to speak at each, and whether it would have said the right thing where it had to."""

    decided: Tensor
    right: list[bool]


@torch.inference_mode()
def _followed(model: LionFS, sample: StreamSample, stream: HandStream, arm: str) -> _Followed:
    """It is told the truth after each of its answers, so that all three looks see the same stream."""

    def look(number: int) -> tuple[Tensor, Sequence[Box]]:
        return torch.from_numpy(stream.maps[number]), stream.boxes[number] if arm == "grid and boxes" else ()

    def encode(text: str, before: str) -> list[int]:
        return []  # the template's own words are none that this model knows

    prepare = None if arm == "fast only" else model.slow(look, encode)
    live = LiveStream(model.fast, 1000, limit=4, prepare=prepare)
    said = {words.frame: words.ids for words in sample.words}
    decided, right = [], []
    for number, frame in enumerate(model.frames(sample.features)):
        decided.append(live.see(frame, number / FPS).p_speak)
        if number in said:
            right.append(live.think() == list(said[number][:-1]))
            live.told("assistant", said[number], number / FPS)
    return _Followed(torch.cat(decided), right)


_KINDS = [f"A, {tower} misled, {half} half" for tower, half in two_cues.KINDS]

EXPERIMENT = Experiment(
    slug="lion-fs",
    question="Are two towers' tokens best mixed frame by frame, which tokens can go, and what does a close look add?",
    arms=ARMS,
    measures=[
        Measure("LM-PPL", decimals=3),
        Measure("TimeDiff", "s"),
        Measure("Fluency", "%", 1),
        Measure("Correctness", "%", 1),
        Measure("F1", "%", 1),
        *(Measure(kind) for kind in _KINDS),
        Measure("kept", "% of planted", 1),
        Measure("positions/frame", decimals=1),
        Measure("MFLOP/frame"),
        Measure("answers", "% right", 1),
        Measure("same decisions", "%", 1),
        Measure("train s", decimals=0),
    ],
    claims=[
        Claim("the router is no further off in time than static weights", "TimeDiff", "router", "static", lower=True),
        Claim("and says as much or more that is right", "Correctness", "router", "static"),
        Claim("it beats the general tower in time", "TimeDiff", "router", "general only", lower=True),
        Claim("and the egocentric one in words", "Correctness", "router", "ego only"),
        Claim("ten mixed tokens are no worse than twenty", "F1", "router", "concat"),
        *(
            Claim(
                f"where {tower} is misled in the {half} half, the router leans to the other",
                kind,
                "router",
                "static",
                tower == "general",
            )
            for kind, (tower, half) in zip(_KINDS, two_cues.KINDS, strict=True)
        ),
        Claim("the learned half keeps over 90 % of the tokens that matter", "kept", "learned half", 90.0),
        Claim("a random half keeps about half of them", "kept", "random half", 55.0, lower=True),
        Claim("the learned half costs at most two points of fluency", "Fluency", "learned half", "no dropping", slack=2.0),
        Claim("and is better than a random one", "Fluency", "learned half", "random half"),
        Claim("with the quarters, more answers are right", "answers", "grid", "fast only"),
        Claim("and with boxes still more", "answers", "grid and boxes", "grid"),
        Claim("no decision changes, to the bit", "same decisions", "grid and boxes", 100.0),
    ],
    run=run,
    together=(LOOKS,),
)
