"""The recipe of a system: a new model of one configuration, kept as `load_system` reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from serval.systems.saved import save_system
from serval.systems.system import System, SystemConfig
from serval.training.batches import Batches
from serval.training.recipe import Recipe
from serval.training.stage import Stage


def system_recipe(
    slug: str,
    system: System[Any],
    config: SystemConfig,
    stages: Sequence[Stage],
    data: Mapping[str, Callable[[Stage], Batches]],
    seed: int,
) -> Recipe:
    """See `Recipe`."""

    def model(device: torch.device) -> nn.Module:
        return system.new(config, seed=seed, device=device)

    return Recipe(model, stages, data, partial(save_system, slug=slug), seed)
