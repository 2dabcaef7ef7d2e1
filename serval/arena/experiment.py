"""An experiment: arms that are trained and measured alike, and claims that their numbers bear out or do not."""

from __future__ import annotations

import importlib
import json
import logging
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch

from serval.training.parameters import refuse_unknown

logger = logging.getLogger(__name__)

Verdict = Literal["holds", "mixed", "does not hold"]
Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Numbers of each seed, by arm and by measure."""


@dataclass(frozen=True)
class Measure:
    """What is measured: a name, its unit, and how many decimals are worth showing."""

    name: str
    unit: str = ""
    decimals: int = 2


@dataclass(frozen=True)
class Claim:
    """That one arm is ``better`` than another, or than a number, in a measure: seed by seed, on the same data.

    Attributes:
        text: the claim in words, as the paper's check has it.
        lower: a lower number is better.
        slack: by how much it may be worse and still count: for claims like "not worse than".
    """

    text: str
    measure: str
    better: str
    than: str | float
    lower: bool = False
    slack: float = 0.0

    def gains(self, values: Values) -> list[float]:
        """By how much it is better, for each seed."""
        ours = values[self.better][self.measure]
        theirs = values[self.than][self.measure] if isinstance(self.than, str) else [self.than] * len(ours)
        sign = -1.0 if self.lower else 1.0
        return [sign * (one - other) + self.slack for one, other in zip(ours, theirs, strict=True)]

    def verdict(self, values: Values) -> Verdict:
        """It holds if every seed says so, and not at all if the mean does not. A number that is missing says no."""
        gains = [-math.inf if math.isnan(gain) else gain for gain in self.gains(values)]
        if all(gain >= 0 for gain in gains):
            return "holds"
        return "mixed" if statistics.fmean(gains) >= 0 else "does not hold"


@dataclass(frozen=True)
class Experiment:
    """The smallest honest check of one system.

    Attributes:
        question: what is asked, and on what world.
        arms: what is compared, by name, with a line about each.
        measures: in the order of the table's columns.
        run: an arm and a seed to its numbers; ``quick`` for a tenth of the work, to see that it runs. An arm may leave out a
            measure that makes no sense for it.
        together: sets of arms that share what was trained for the first of them, so that one process should run them all.
    """

    slug: str
    question: str
    arms: Mapping[str, str]
    measures: Sequence[Measure]
    claims: Sequence[Claim]
    run: Callable[[str, int, bool], Mapping[str, float]]
    together: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Result:
    """What came of it, as it is kept."""

    slug: str
    command: str
    seeds: tuple[int, ...]
    quick: bool
    seconds: float
    versions: Mapping[str, str]
    values: Values
    verdicts: Mapping[str, Verdict]

    @property
    def verdict(self) -> Verdict:
        """Of all claims together: the least favourable."""
        order: list[Verdict] = ["holds", "mixed", "does not hold"]
        return max(self.verdicts.values(), key=order.index)


def run_experiment(
    experiment: Experiment,
    seeds: int = 3,
    *,
    quick: bool = False,
    processes: int = 1,
    done: Callable[[str, int], None] | None = None,
) -> Result:
    """Run every arm with each of ``seeds`` seeds, taking turns, so that a machine that slows down slows all of them down.

    Args:
        processes: how many run at a time, a thread each: models are too small for several threads. With more than one, the
            experiment must be one that `find_experiment` finds.
        done: told after each arm and seed.
    """
    began = time.monotonic()
    turns = [(arm, seed) for seed in range(seeds) for arm in experiment.arms]
    values: dict[str, dict[str, list[float]]] = {arm: {} for arm in experiment.arms}
    for (arm, seed), found in zip(turns, _numbers(experiment, turns, quick, processes), strict=True):
        logger.info("%s, %s, seed %d: %s", experiment.slug, arm, seed, dict(found))
        for measure in experiment.measures:
            values[arm].setdefault(measure.name, []).append(float(found.get(measure.name, math.nan)))
        if done is not None:
            done(arm, seed)
    return Result(
        slug=experiment.slug,
        command=f"serval arena {experiment.slug} --seeds {seeds}" + (" --quick" if quick else ""),
        seeds=tuple(range(seeds)),
        quick=quick,
        seconds=round(time.monotonic() - began, 1),
        versions={"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")}},
        values=values,
        verdicts={claim.text: claim.verdict(values) for claim in experiment.claims},
    )


def _numbers(
    experiment: Experiment, turns: Sequence[tuple[str, int]], quick: bool, processes: int
) -> Iterator[Mapping[str, float]]:
    """Of each turn, in order."""
    if processes == 1:
        threads = torch.get_num_threads()
        _alone()
        try:
            yield from (experiment.run(arm, seed, quick) for arm, seed in turns)
        finally:
            torch.set_num_threads(threads)
        return
    sets = {arm: tuple(arms) for arms in experiment.together for arm in arms}
    with ProcessPoolExecutor(processes, get_context("spawn"), _alone) as pool:
        waiting: dict[tuple[tuple[str, ...], int], Future[dict[str, dict[str, float]]]] = {}
        for arm, seed in turns:
            arms = sets.get(arm, (arm,))
            if (arms, seed) not in waiting:
                waiting[arms, seed] = pool.submit(_turn, experiment.slug, arms, seed, quick)
        try:
            yield from (waiting[sets.get(arm, (arm,)), seed].result()[arm] for arm, seed in turns)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _alone() -> None:
    torch.set_num_threads(1)


def _turn(slug: str, arms: Sequence[str], seed: int, quick: bool) -> dict[str, dict[str, float]]:
    return {arm: dict(find_experiment(slug).run(arm, seed, quick)) for arm in arms}


def save_result(result: Result, path: Path) -> None:
    """As JSON; a number that was not measured is null."""

    def known(value: Any) -> Any:
        if isinstance(value, float):
            return None if math.isnan(value) else round(value, 6)
        if isinstance(value, Mapping):
            return {key: known(each) for key, each in value.items()}
        return [known(each) for each in value] if isinstance(value, list | tuple) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known(asdict(result)), indent=1) + "\n", "utf-8")


@cache
def modules() -> dict[str, str]:
    """Experiments by slug: modules of this room that define ``EXPERIMENT``. Nothing is imported to find them."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    return {
        path.stem.replace("_", "-"): f"serval.arena.{path.stem}"
        for path in paths
        if "\nEXPERIMENT = " in path.read_text("utf-8") and path.name != Path(__file__).name
    }


def find_experiment(slug: str) -> Experiment:
    """Raises `Refusal` where there is none, naming those there are."""
    slug = slug.replace("_", "-")
    if slug not in modules():
        raise refuse_unknown(ascii(slug)[1:-1][:40], slug, [*modules(), "all"], "experiment")
    found: Experiment = importlib.import_module(modules()[slug]).EXPERIMENT
    return found
