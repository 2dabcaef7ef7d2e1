"""Weights for classes of which one is far more frequent: silence, of hundreds of frames, against one word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SILENT, SPEAK = 0, 1
"""What a frame is followed by. Further states, as "stand by", go on from here."""


@dataclass(frozen=True)
class Balance:
    """Multiplies a loss -log p by w · (1 - p)^gamma, w by its class.

    The default changes nothing. ``weights`` alone weigh the classes; ``gamma`` alone is the focal loss (Lin et al. 2017,
    arXiv:1708.02002); `effective` is class-balanced.

    Attributes:
        weights: one for each class, in order; none for 1 everywhere.
        gamma: how much less counts what is already certain.
    """

    weights: tuple[float, ...] = ()
    gamma: float = 0.0

    @classmethod
    def effective(cls, counts: Sequence[int], beta: float = 0.999, gamma: float = 0.0) -> Balance:
        """Weights (1 - beta) / (1 - beta^n) for classes with n examples in the data, scaled to a mean of 1 (Cui et al. 2019,
        arXiv:1901.05555, equation 4). Beta 0 weighs all alike; towards 1 the weights become those of inverse frequency.

        Raises:
            ValueError: a class without examples, or a beta that is not from 0 to below 1.
        """
        if not counts or min(counts) < 1 or not 0 <= beta < 1:
            raise ValueError(f"counts {tuple(counts)} and beta {beta}: each class needs examples, and beta is below 1.")
        raw = [(1 - beta) / (1 - beta**count) for count in counts]
        return cls(tuple(each * len(raw) / sum(raw) for each in raw), gamma)

    def __call__(self, losses: Tensor, classes: Tensor) -> Tensor:
        """The weighted losses, (count,), for losses -log p (count,) and classes (count,) int64."""
        if self.gamma:
            wrong = -torch.expm1(-losses)  # 1 - p
            losses = losses * wrong.clamp_min(torch.finfo(wrong.dtype).tiny).pow(self.gamma)
        if self.weights:
            losses = losses * torch.tensor(self.weights, dtype=losses.dtype, device=losses.device)[classes]
        return losses


PLAIN = Balance()
"""Every loss as it is."""
