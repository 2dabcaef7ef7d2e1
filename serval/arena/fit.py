"""How an arm is trained: by its stages, with the trainer that everything else is trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from torch import nn

from serval.training.batches import Batches
from serval.training.distributed import accelerator_for
from serval.training.recipe import Recipe
from serval.training.stage import Stage
from serval.training.trainer import Trainer

Model = TypeVar("Model", bound=nn.Module)


def fit(build: Callable[[], Model], stages: Sequence[Stage], data: Callable[[Stage], Batches], seed: int) -> Model:
    """A model that went through ``stages``, all of one mixture, on the CPU; frozen and evaluated."""
    made: list[Model] = []

    def model(device: object) -> Model:
        made.append(build())
        return made[-1]

    recipe = Recipe(model, stages, {stage.mixture: data for stage in stages}, seed=seed)
    with TemporaryDirectory() as folder:
        Trainer(recipe, Path(folder) / "run", accelerator=accelerator_for(stages, "cpu"), save_every=10**9).run()
    return made[-1]
