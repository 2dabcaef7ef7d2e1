"""A recipe: a model, the stages it goes through, and their data. One Python file defines ``recipe(**options) -> Recipe``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from serval.training.batches import Batches
from serval.training.parameters import refuse_unknown
from serval.training.stage import Stage


@dataclass(frozen=True)
class Recipe:
    """All that a run needs.

    Attributes:
        model: builds it on a device. On "meta" it has shapes but no numbers, and nothing is read; elsewhere PyTorch is seeded,
            so what is drawn is the same every time.
        data: for each mixture, what makes the batches of a stage that names it.
        save: writes what a person wants of the trained model into a folder, e.g. adapters in PEFT's format.
        seed: of all that is drawn.
    """

    model: Callable[[torch.device], nn.Module]
    stages: Sequence[Stage]
    data: Mapping[str, Callable[[Stage], Batches]]
    save: Callable[[nn.Module, Path], None] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for stage in self.stages:
            if stage.mixture not in self.data:
                raise refuse_unknown(f"stage {stage.name}", stage.mixture, self.data, "mixture")

    def empty_model(self) -> nn.Module:
        """The model without its numbers, on the meta device."""
        device = torch.device("meta")
        with device:
            return self.model(device)
