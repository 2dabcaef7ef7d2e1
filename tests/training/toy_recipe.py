"""A recipe with all that could differ after a kill: dropout, running statistics, drawn data, an average, two precisions."""

import random

import numpy as np
import torch
from torch import nn

from serval.training.batches import shuffled
from serval.training.objectives.loss import Loss
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage


class Toy(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout))
        self.head = nn.Linear(8, 1)
        self.seldom = nn.Linear(8, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.frozen(x.to(self.frozen.weight.dtype)))
        head = self.seldom if len(x) < 4 else self.head  # a batch, or a process, may leave out some of what learns
        return head(self.body(hidden))[:, 0].float()


class Squares:
    """Mean of squares over rows, of which batches have different numbers."""

    def __call__(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> Loss:
        errors = (model(batch["x"]) - batch["y"]).square()
        return Loss(errors.sum(), errors.new_tensor(len(errors)), {"largest": (errors.detach().max(), errors.new_tensor(1.0))})


def recipe(
    steps: int = 7,
    accumulation: int = 2,
    dropout: float = 0.3,
    drawn: bool = True,
    statistics: bool = True,
    rows: int = 11,
    narrow: bool = True,
    seed: int = 3,
) -> Recipe:
    generator = torch.Generator().manual_seed(5)
    items = [(x, x.sum().sin()) for x in torch.randn(rows, 4, generator=generator)]

    def collate(chosen):
        x, y = (torch.stack(each) for each in zip(*chosen, strict=True))
        if drawn:  # as careless data do
            x = x + 0.1 * torch.randn_like(x) + 0.1 * random.gauss(0, 1) + 0.1 * np.random.rand()
        return {"x": x, "y": y}

    usual = {"mixture": "toys", "objective": Squares(), "steps": steps, "batch": 4, "accumulation": accumulation}
    learns = {"norm.*": Rate(1e-2)} if statistics else {}
    average = {"precision": "bfloat16" if narrow else None, "warmup": 2, "ema": 0.8}
    first = Stage(name="first", trains={"head.*": Rate(3e-2, 0.1), **learns}, **average, **usual)
    learns = {"body.*": Rate(2e-2), "head.*": Rate(1e-2), "seldom.*": Rate(0.1)}
    wide = {"precision": "float32", "schedule": "linear", "gradient_checkpointing": ["body"]}
    stages = [first, Stage(name="second", trains=learns, **wide, **usual)]
    return Recipe(
        lambda device: Toy(dropout).to(device),
        stages,
        {"toys": lambda stage: shuffled(items, stage.batch, collate, seed=seed)},
        seed=seed,
    )
