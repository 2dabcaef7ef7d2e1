"""MoME's check: towers that each see one thing, mixed by the instruction; tasks that contradict each other, and an adapter that
the instruction chooses."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from serval.arena.experiment import Claim, Experiment, Measure
from serval.arena.fit import fit
from serval.arena.questions import score_answers
from serval.data.worlds.shapes import ShapeItem, make, make_contradictory
from serval.systems.experts.mome import SYSTEM, BalancedAnswers, Eyes, MoME, second_stage
from serval.systems.experts.picture_question import Answers, PictureQuestion, batches, collated
from serval.systems.experts.shape_questions import VIEWS, from_views
from serval.training.batches import Batches
from serval.training.stage import Rate, Stage

GROUPS = ("general", "rec", "document")  # which need the first, the second and the third of VIEWS
CODES = 3
ADAPTERS = "decoder.*.mlp.*"
SCENES, TESTED, THINGS = 1024, 64, (1, 1)
STEPS, BASE, ADAPTED, BATCH, RATE = 320, 100, 80, 32, 3e-3
_TINY = SYSTEM.sizes["tiny"].model_copy(update={"adapters": 1, "readings": 1})

TOWERS: Mapping[str, dict[str, Any]] = {
    "routed": {},
    "added": {"mixing": "add"},
    "pooled, added": {"mixing": "add", "readings": 0},
    **{f"{view} alone": {"eyes": (Eyes(tower=32, heads=4),)} for view in VIEWS},
}
ROUTERS: Mapping[str, dict[str, Any]] = {
    "experts (I)": {},
    "experts (T)": {"routing": "tokens"},
    "experts (IT)": {"routing": "both"},
    "experts (I, noise)": {"noise": True},
    "experts (I, balance)": {},
}
ARMS = {
    "routed": "the paper's: three towers, each read by a deformable reader, weighed by the instruction",
    "added": "the same readers, their tokens added",
    "pooled, added": "average pooling in place of the readers, added",
    "what alone": "one tower: colours and shapes, in cells that say nothing of where",
    "where alone": "one tower: shapes and places, without colours",
    "glyphs alone": "one tower: glyphs, on a grid that is never square",
    "experts (I)": "the paper's: one of three adapters in each layer, chosen by the instruction",
    "experts (T)": "chosen by each token's states",
    "experts (IT)": "chosen by both",
    "experts (I, noise)": "by the instruction, with Gumbel noise while it learns",
    "experts (I, balance)": "by the instruction, with a loss that spreads the samples",
    "one adapter": "the first stage alone, for as many steps as both",
    "specialists": "three models of one adapter, each for one task, with its share of the samples",
}


@lru_cache(maxsize=2)
def _items(seed: int, side: int) -> list[ShapeItem]:
    return make(2 * seed + side, TESTED if side else SCENES, GROUPS, THINGS)


@lru_cache(maxsize=2)
def _seen(seed: int, side: int) -> list[PictureQuestion]:
    return [from_views(each) for each in _items(seed, side)]


@lru_cache(maxsize=2)
def _codes(seed: int, side: int) -> list[ShapeItem]:
    return make_contradictory(2 * seed + side, TESTED if side else 512, CODES)


def run(arm: str, seed: int, quick: bool) -> Mapping[str, float]:
    began = time.monotonic()
    found = _towers(arm, seed, quick) if arm in TOWERS else _adapters(arm, seed, quick)
    return found | {"s": time.monotonic() - began}


def _towers(arm: str, seed: int, quick: bool) -> dict[str, float]:
    """Everything learns but the towers, as there is no tiny decoder that has learnt to speak."""
    view = arm.removesuffix(" alone")

    def seen(side: int) -> list[PictureQuestion]:
        if view not in VIEWS:
            return _seen(seed, side)
        place = VIEWS.index(view)
        return [
            PictureQuestion(each.seen[place : place + 1], each.question, each.answer, (), each.told)
            for each in _seen(seed, side)
        ]

    model = _fitted(lambda: _new(seed, TOWERS[arm]), [_stage("all", "*", STEPS // 10 if quick else STEPS)], seen(0), seed)
    items, questions = _items(seed, 1), seen(1)
    if quick:
        items, questions = items[:12], questions[:12]
    found = dict(score_answers(items, model.answer(questions, most=8)))
    return found | ({"needed": _needed(model, items, questions)} if view not in VIEWS else {})


@torch.inference_mode()
def _needed(model: MoME, items: Sequence[ShapeItem], questions: Sequence[PictureQuestion]) -> float:
    """For how many questions, in per cent, the tower that they need adds most to the tokens."""
    most = [int(model.contributions(collated([each])).argmax()) for each in questions]
    return 100 * statistics.fmean(place == GROUPS.index(item.group) for place, item in zip(most, items, strict=True))


def _adapters(arm: str, seed: int, quick: bool) -> dict[str, float]:
    """Adapters in a decoder that stays as it is: it says what shape there is, whatever the code."""
    scale = 10 if quick else 1
    trained, tested = _codes(seed, 0), _codes(seed, 1)[: 12 if quick else None]
    base = _base(seed, BASE // scale)
    if arm == "specialists":
        right: list[float] = []
        for code in range(CODES):
            mine = [each for each in trained if each.group == f"code {code}"]
            stage = _stage("adapter", ADAPTERS, 2 * ADAPTED // scale, BATCH // CODES)
            model = _learnt(base, mine, stage, seed)
            asked = [each for each in tested if each.group == f"code {code}"]
            right.append(_score(model, asked))
        return {"codes": statistics.fmean(right)}
    if arm == "one adapter":
        stage = _stage("adapter", ADAPTERS, 2 * ADAPTED // scale)
        return {"codes": _score(_learnt(base, trained, stage, seed), tested)}
    second = second_stage(_first(seed, scale), CODES, **ROUTERS[arm])
    objective = BalancedAnswers() if "balance" in arm else Answers()
    stage = _stage("second", ADAPTERS, ADAPTED // scale, objective=objective)
    return {"codes": _score(_learnt(second, trained, stage, seed), tested)}


@lru_cache(maxsize=1)
def _first(seed: int, scale: int) -> MoME:
    """One adapter, after the first of two stages."""
    return _learnt(_base(seed, BASE // scale), _codes(seed, 0), _stage("first", ADAPTERS, ADAPTED // scale), seed)


def _learnt(start: MoME, items: Sequence[ShapeItem], stage: Stage, seed: int) -> MoME:
    return _fitted(lambda: copy.deepcopy(start), [stage], [_where(each) for each in items], seed)


def _score(model: MoME, items: Sequence[ShapeItem]) -> float:
    return score_answers(items, model.answer([_where(each) for each in items], most=4))["mean"]


@lru_cache(maxsize=1)
def _base(seed: int, steps: int) -> MoME:
    """A model with one tower and one adapter, which does not change anything yet; to each code it says what shape there is."""
    plain = [_where(each) for each in _codes(seed, 0)]
    code_0 = [plain[number - number % CODES].answer for number in range(len(plain))]
    told = [
        PictureQuestion(each.seen, each.question, answer, (), each.told) for each, answer in zip(plain, code_0, strict=True)
    ]
    start = _new(seed, {"eyes": (Eyes(tower=32, heads=4),), "readings": 0})
    stage = _stage("base", "*", steps, frozen=("decoder.*.mlp.down*", "decoder.*.mlp.up*", "decoder.*.mlp.strength"))
    return _fitted(lambda: start, [stage], told, seed)


def _where(item: ShapeItem) -> PictureQuestion:
    return from_views(item, ("where",))


def _new(seed: int, changes: Mapping[str, Any]) -> MoME:
    model = SYSTEM.new(_TINY.model_copy(update=dict(changes)), seed=seed)
    assert isinstance(model, MoME)
    return model


def _stage(
    name: str, trains: str, steps: int, batch: int = BATCH, *, objective: Any = None, frozen: Sequence[str] = ()
) -> Stage:
    stay = [*frozen, *(["decoder.*.feed_forward.*"] if trains != "*" else [])]
    rates: dict[str, Rate | None] = dict.fromkeys(stay) | {trains: Rate(RATE)}
    return Stage(name, rates, "questions", objective or Answers(), steps=max(1, steps), batch=batch, warmup=0.05)


def _fitted(build: Any, stages: Sequence[Stage], questions: Sequence[PictureQuestion], seed: int) -> MoME:
    def data(stage: Stage) -> Batches:
        return batches(questions, stage.batch, seed=seed)

    model: MoME = fit(build, stages, data, seed)
    return model


EXPERIMENT = Experiment(
    slug="mome",
    question="Three kinds of questions, each of which one of three towers can answer; three tasks that contradict each other. "
    "Does it help if the instruction chooses the tower, and the adapter?",
    arms=ARMS,
    measures=[
        Measure("general", "%", 1),
        Measure("rec", "%", 1),
        Measure("document", "%", 1),
        Measure("mean", "%", 1),
        Measure("needed", "%", 1),
        Measure("codes", "%", 1),
        Measure("s", decimals=0),
    ],
    claims=[
        Claim("towers weighed by the instruction are better than towers added", "mean", "routed", "added"),
        *[Claim(f"towers added are better than {view} alone", "mean", "added", f"{view} alone") for view in VIEWS],
        Claim("reading the maps is better than pooling them", "mean", "added", "pooled, added"),
        Claim("the tower that a question needs adds most, for nine of ten", "needed", "routed", 90.0),
        Claim("experts chosen by the instruction are as good as specialists", "codes", "experts (I)", "specialists", slack=5.0),
        Claim("and better than one adapter for all", "codes", "experts (I)", "one adapter"),
        *[Claim(f"and than {arm}", "codes", "experts (I)", arm) for arm in ROUTERS if arm != "experts (I)"],
    ],
    run=run,
    together=((*ROUTERS, "one adapter", "specialists"),),
)
