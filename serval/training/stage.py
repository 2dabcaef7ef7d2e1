"""A stage of training: what learns, how fast, from which data, by which objective. A recipe is a list of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from serval.refusal import Refusal
from serval.training.batches import Batch
from serval.training.objectives.loss import Loss

Schedule = Literal["cosine", "linear", "constant"]
Precision = Literal["float32", "bfloat16"]


class Objective(Protocol):
    """What is to become small. It may call any method of the model."""

    def __call__(self, model: Any, batch: Batch) -> Loss: ...


@dataclass(frozen=True)
class Rate:
    """How parameters learn by AdamW (Loshchilov and Hutter 2019). Vectors and single numbers do not decay, only matrices."""

    learning_rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        trains: patterns of parameters' names, in which ``*`` stands for anything, and how these learn: ``{"connector.*":
            Rate(5e-4)}``. The first pattern that fits decides; None keeps what fits frozen. What no pattern names is frozen.
        mixture: name of the data in the recipe.
        steps, epochs: how long, one of both. An epoch is what the data call one.
        batch: items of one batch.
        accumulation: batches of one step, in each process.
        schedule: of the rates after the warm-up: to zero as a cosine or a line, or constant.
        warmup: over how many steps the rates rise to their full height; a share of all steps if below 1.
        precision: what all weights are computed in; as they were built by default. Weights that learn have float32 masters.
        gradient_checkpointing: patterns of modules' names whose inner states are computed again in the backward pass instead
            of being kept (Chen et al. 2016): ``["layers.*"]``.
        ema: what share of the running average of the weights each step keeps; the model leaves the stage with the average.
        clip: largest norm of the gradient of all that learns.
        betas: AdamW's.

    Raises:
        Refusal: a number is out of its range.
    """

    name: str
    trains: Mapping[str, Rate | None]
    mixture: str
    objective: Objective
    steps: int | None = None
    epochs: float | None = None
    batch: int = 1
    accumulation: int = 1
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    precision: Precision | None = None
    gradient_checkpointing: Sequence[str] = ()
    ema: float | None = None
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise self.refusal("it has steps and epochs, or neither", "give one of both")
        sizes = {"steps": self.steps, "epochs": self.epochs, "batch": self.batch, "accumulation": self.accumulation}
        for field, size in sizes.items():
            if size is not None and not 0 < size < math.inf:
                raise self.refusal(f"{field} is {size}", "give more than 0")
        for rate in filter(None, self.trains.values()):
            if not (0 <= rate.learning_rate < math.inf and 0 <= rate.weight_decay < math.inf):
                raise self.refusal(f"{rate} is no rate", "give numbers from 0")
        if not 0 <= self.warmup < math.inf or (self.ema is not None and not 0 <= self.ema < 1):
            raise self.refusal(f"warmup is {self.warmup} and ema {self.ema}", "warm up from 0, average from 0 to below 1")
        if self.clip is not None and not self.clip > 0:
            raise self.refusal(f"clip is {self.clip}", "give more than 0, or None")

    def scale(self, step: int, steps: int) -> float:
        """What the rates are multiplied by at ``step`` of ``steps``, from 0. The first step already learns a little."""
        warm = self.warmup * steps if self.warmup < 1 else self.warmup
        if step < warm:
            return min(1.0, (step + 1) / warm)
        done = (step - warm) / max(1.0, steps - warm)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1 - done if self.schedule == "linear" else 1.0

    def refusal(self, why: str, remedy: str = "") -> Refusal:
        return Refusal(f"stage {self.name}", why, remedy)
