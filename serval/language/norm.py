"""Root-mean-square norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serval.language.config import NormConfig


class RMSNorm(nn.Module):
    """x / √(mean x² + eps) · weight (Zhang and Sennrich 2019, arXiv:1910.07467), computed in float32.

    Families differ in what their weights are around (Gemma's around 0, with 1 to be added) and in whether the product is
    rounded once or twice.
    """

    def __init__(self, width: int, config: NormConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.full((width,), 1.0 - config.offset))

    def forward(self, hidden: Tensor) -> Tensor:
        config, wide = self.config, hidden.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + config.eps)
        if config.wide:
            return (normed * (config.offset + self.weight.float())).to(hidden.dtype)
        return self.weight * normed.to(hidden.dtype)
