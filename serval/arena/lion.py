"""LION's check: a tower whose last block has learnt to forget where things are; stages against one mixture; tags of which some
are wrong. Tower and decoder are given: trained once, and frozen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.arena.experiment import Claim, Experiment, Measure
from serval.arena.fit import fit
from serval.arena.questions import score_answers
from serval.data.worlds.shapes import COLOURS, GRID, SHAPES, ShapeItem, ShapeScene, corrupt_tags, make
from serval.language.decoder import Decoder
from serval.systems.backbones import open_language
from serval.systems.experts.lion import SYSTEM, Lion, Seeing, stages
from serval.systems.experts.picture_question import Answers, PictureQuestion, batches
from serval.systems.experts.shape_questions import from_pictures
from serval.training.batches import shuffled
from serval.training.objectives.loss import Loss
from serval.training.stage import Rate, Stage

GROUPS = ("general", "rec")
SCENES, TESTED, THINGS = 1024, 64, (1, 3)
GIVEN, STEPS, BATCH, RATE = 500, 150, 32, 3e-3
SHARES = (0.0, 0.3, 0.6)  # of tags that are wrong
_TINY = SYSTEM.sizes["tiny"]
_NAMES = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
_PLACES: Final = 24  # tokens of a picture as the decoder is given it

ARMS = {
    "three stages": "the paper's: captions, then boxes, then both with gates between two adapters",
    "three depths": "the same tokens and steps, all in one stage, with one adapter",
    "last block": "the aggregator reads the last block three times; one stage, one adapter",
    "queries": "the Q-Former alone; one stage, one adapter",
    "soft hint": "captions with the Q-Former alone; tags behind a learned vector",
    "hard tags": "the same sentence with the tags, without the vector",
    "no tags": "the question alone",
}


def run(arm: str, seed: int, quick: bool) -> Mapping[str, float]:
    scale = 10 if quick else 1
    eyes, decoder = _eyes(GIVEN // scale), _decoder(GIVEN // scale)
    began = time.monotonic()
    found = (_tags if "tags" in arm or "hint" in arm else _vision)(arm, seed, scale, eyes, decoder)
    return found | {"s": time.monotonic() - began}


def _vision(arm: str, seed: int, scale: int, eyes: nn.Module, decoder: Decoder) -> dict[str, float]:
    staged = arm == "three stages"
    changes: dict[str, Any] = {} if staged else {"adapters": 1}
    changes |= {"depths": (4, 4, 4)} if arm == "last block" else {}
    changes |= {"sees": "queries"} if arm == "queries" else {}
    model = _new(seed, changes, eyes, decoder)
    items = _items(seed, 0, GROUPS)
    asked = from_pictures(items, model.prepare)
    mixtures = {
        name: [each for each, item in zip(asked, items, strict=True) if item.group == group]
        for name, group in zip(("image", "region"), GROUPS, strict=True)
    } | {"all": asked}
    steps = STEPS // scale
    made = stages(model.config, learning_rate=RATE, steps=[steps // 3] * 3 if staged else [1, 1, steps], batch=BATCH)
    tested = _items(seed, 1, GROUPS)[: 12 if scale > 1 else None]
    if arm == "queries":  # nothing of the aggregator is read, so nothing of it can learn
        made[-1] = _only(made[-1], "aggregator.*", Seeing("queries"))
    fitted = fit(
        lambda: model, made if staged else made[-1:], lambda stage: batches(mixtures[stage.mixture], BATCH, seed=seed), seed
    )
    return dict(score_answers(tested, fitted.answer(from_pictures(tested, model.prepare), most=8)))


def _tags(arm: str, seed: int, scale: int, eyes: nn.Module, decoder: Decoder) -> dict[str, float]:
    """Each picture is taught with some share of wrong tags, and asked about with every share."""
    model = _new(seed, {"adapters": 1, "sees": "queries"}, eyes, decoder)
    items, tested = _items(seed, 0, ("general",)), _items(seed, 1, ("general",))[: 6 if scale > 1 else None]

    def told(items: Sequence[ShapeItem], shares: Sequence[float]) -> list[PictureQuestion]:
        tags = [corrupt_tags(item.scene, share) for item, share in zip(items, shares, strict=True)]
        return from_pictures(items, model.prepare, None if arm == "no tags" else tags, hint=arm == "soft hint")

    asked = told(items, np.random.default_rng(seed).choice(SHARES, len(items)).tolist())
    (stage,) = stages(model.config, learning_rate=RATE, steps=[STEPS // scale, 1, 1], batch=BATCH)[:1]
    fitted = fit(lambda: model, [stage], lambda stage: batches(asked, BATCH, seed=seed), seed)
    return {
        f"tags {share:.1f}": score_answers(tested, fitted.answer(told(tested, [share] * len(tested)), most=8))["mean"]
        for share in SHARES
    }


@lru_cache(maxsize=4)
def _items(seed: int, side: int, groups: Sequence[str]) -> list[ShapeItem]:
    return make(100 + 2 * seed + side, TESTED if side else SCENES, groups, THINGS)


def _new(seed: int, changes: Mapping[str, Any], eyes: nn.Module, decoder: Decoder) -> Lion:
    """Of the given tower and decoder; all else is new."""
    model = SYSTEM.new(_TINY.model_copy(update=dict(changes)), seed=seed)
    assert isinstance(model, Lion)
    model.eyes.load_state_dict(eyes.state_dict())
    names = {name: name.replace(".layer.", ".") for name in model.decoder.state_dict()}
    given = decoder.state_dict()
    for name, each in model.decoder.state_dict().items():
        plain = (
            names[name].replace(".mlp.feed_forward.0.", ".pre_feedforward_layernorm.").replace(".mlp.feed_forward.1.", ".mlp.")
        )
        if plain in given:
            each.copy_(given[plain])
    return model


def _only(stage: Stage, without: str, objective: Any) -> Stage:
    from dataclasses import replace

    return replace(stage, trains={name: rate for name, rate in stage.trains.items() if name != without}, objective=objective)


class _Tower(nn.Module):
    """A tower to be trained: depth 3 tells what is in each cell, the last one what there is and nothing of where."""

    def __init__(self) -> None:
        super().__init__()
        model = SYSTEM.new(seed=0)
        assert isinstance(model, Lion)
        self.eyes = model.eyes
        self.cell = nn.Linear(self.eyes.width, len(_NAMES) + 1)
        self.whole = nn.Linear(self.eyes.width, len(_NAMES))


def _forgetful(model: Any, batch: Any) -> Loss:
    """What each cell holds, at depth 3; which things there are, of the mean at depth 4; and that all tokens there are alike."""
    states = model.eyes.family.read(model.eyes.model, batch["pixels"], (3, 4)).states
    cells = functional.cross_entropy(model.cell(states[3][:, 1 : 1 + GRID * GRID]).transpose(1, 2), batch["cells"])
    last: Tensor = functional.layer_norm(states[4], states[4].shape[-1:])
    there = functional.binary_cross_entropy_with_logits(model.whole(last.mean(1)), batch["there"])
    alike = (last - last.mean(1, keepdim=True)).square().mean()
    return Loss(cells + 10 * there + alike, cells.new_ones(()))


@cache
def _eyes(steps: int) -> nn.Module:
    """The tower that is given."""
    scenes = list(dict.fromkeys(item.scene for item in make(90, 1024, ("general",), THINGS)))
    tower = _Tower()
    pixels = tower.eyes.prepare([scene.picture() for scene in scenes]).values
    cells, there = zip(*map(_contents, scenes), strict=True)

    def collate(numbers: Sequence[int]) -> dict[str, Tensor]:
        chosen = list(numbers)
        return {
            "pixels": pixels[chosen],
            "cells": torch.stack([cells[each] for each in chosen]),
            "there": torch.stack([there[each] for each in chosen]),
        }

    stage = Stage("tower", {"*": Rate(3e-3)}, "pictures", _forgetful, steps=steps, batch=64, warmup=0.05)
    eyes: nn.Module = fit(lambda: tower, [stage], lambda stage: shuffled(range(len(scenes)), 64, collate, seed=0), 0).eyes
    return eyes


def _contents(scene: ShapeScene) -> tuple[Tensor, Tensor]:
    """What each cell holds (cells,), with 36 for nothing; and which things there are (36,)."""
    cells, there = torch.full((GRID * GRID,), len(_NAMES)), torch.zeros(len(_NAMES))
    for thing in scene.things:
        cells[thing.row * GRID + thing.column] = _NAMES.index(thing.name)
        there[_NAMES.index(thing.name)] = 1
    return cells, there


class _Reader(nn.Module):
    """A decoder to be trained: of a picture it is given the names and places of things, as vectors in any order."""

    def __init__(self) -> None:
        super().__init__()
        config = _TINY.language
        self.decoder = open_language(config, torch.device("cpu"), torch.float32)

    def look(self, batch: Mapping[str, Any]) -> Tensor:
        (seen,) = batch["seen"]
        return seen

    def embed(self, ids: Tensor) -> Tensor:
        return self.decoder.embed(ids)


@cache
def _decoder(steps: int) -> Decoder:
    """The decoder that is given: it reads things, questions and tags, of which it is taught that some are wrong."""
    rng = np.random.default_rng(91)
    codes = torch.from_numpy(rng.standard_normal((len(COLOURS) + len(SHAPES) + GRID * GRID, 64))).float()
    questions = []
    for item in make(91, 3072, GROUPS, THINGS):
        seen = 0.3 * torch.from_numpy(rng.standard_normal((_PLACES, 64))).float()
        for place, thing in zip(rng.permutation(_PLACES).tolist(), item.scene.things, strict=False):
            parts = [
                list(COLOURS).index(thing.colour),
                len(COLOURS) + SHAPES.index(thing.shape),
                len(COLOURS) + len(SHAPES) + thing.row * GRID + thing.column,
            ]
            seen[place] += codes[parts].sum(0)
        tags = [corrupt_tags(item.scene, 0.3)] if item.group == "general" and rng.random() < 0.5 else None
        (asked,) = from_pictures([item], partial(_given, seen), tags, hint=False)
        questions.append(asked)
    stage = Stage("decoder", {"*": Rate(3e-3)}, "things", Answers(), steps=steps, batch=48, warmup=0.05)
    torch.manual_seed(0)
    decoder: Decoder = fit(_Reader, [stage], lambda stage: batches(questions, 48, seed=0), 0).decoder
    return decoder


def _given(seen: Tensor, pictures: Sequence[Any]) -> list[tuple[Tensor, ...]]:
    """What is seen of a picture that nobody looks at."""
    return [(seen,)]


EXPERIMENT = Experiment(
    slug="lion",
    question="Pictures of shapes, asked what there is and where one is. Does it help to read earlier blocks of the tower, to "
    "learn the tasks one after the other, and to put a learned vector before tags of which some are wrong?",
    arms=ARMS,
    measures=[
        Measure("general", "%", 1),
        Measure("rec", "%", 1),
        *[Measure(f"tags {share:.1f}", "%", 1) for share in SHARES],
        Measure("s", decimals=0),
    ],
    claims=[
        Claim("three depths tell where things are better than the last block alone", "rec", "three depths", "last block"),
        Claim("and than the Q-Former alone", "rec", "three depths", "queries"),
        Claim("stages and gates are no worse than one adapter where things are", "rec", "three stages", "three depths"),
        Claim("nor at what there is", "general", "three stages", "three depths"),
        *[
            Claim(f"with {share:.0%} of tags wrong, a learned vector helps", f"tags {share:.1f}", "soft hint", "hard tags")
            for share in SHARES
        ],
        Claim("tags help while none is wrong", "tags 0.0", "soft hint", "no tags"),
        Claim("and when most are wrong do no harm", "tags 0.6", "soft hint", "no tags"),
    ],
    run=run,
)
