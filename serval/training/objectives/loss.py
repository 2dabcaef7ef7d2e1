"""What an objective gives: a sum and what it is divided by, so that the mean over many batches and processes is exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """A mean that is not taken yet.

    Batches and processes hold different numbers of tokens, so a mean of their means is not the mean over all: the trainer adds
    up totals and weights, and divides once.

    Attributes:
        total: () what gradients are taken of.
        weight: () what the sum of all totals is divided by: a number of tokens, of samples …
        parts: means to be logged by name, each a total and a weight, without gradients. The same names every time.
    """

    total: Tensor
    weight: Tensor
    parts: Mapping[str, tuple[Tensor, Tensor]] = {}

    @property
    def mean(self) -> Tensor:
        return self.total / self.weight


def combined(main: Loss, others: Mapping[str, tuple[float, Loss]]) -> Loss:
    """The mean of ``main`` plus each other's, times its coefficient; both are logged by name.

    Over several batches the others' means are averaged as ``main`` weighs the batches, since one sum can have one divisor.
    """
    total, parts = main.total, dict(main.parts)
    for name, (coefficient, other) in others.items():
        total = total + coefficient * main.weight * other.total / other.weight.clamp_min(1e-12)
        parts |= {name: (other.total.detach(), other.weight), **other.parts}
    return Loss(total, main.weight, parts)
