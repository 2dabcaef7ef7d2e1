"""The map from a tower's width to a language model's width, token by token."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """(…, width_in) → (…, width_out): one linear map, or linear, GELU, linear with ``depth=2``.

    Every token is mapped alone, so the number and order of tokens never change. With ``depth=1`` this is LLaVA's bridge
    (Liu et al. 2023, section 4.1); with ``depth=2`` LLaVA-1.5's (Liu et al. 2024), hidden as wide as the output.
    Used by LLaVA and its descendants, LION-FS (one for each of its two encoders), MoE-LLaVA and Cambrian-1.

    Raises ``ValueError`` for a depth below 1.
    """

    def __init__(self, width_in: int, width_out: int, *, depth: int = 2, bias: bool = True) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"A projector has at least one linear map, not {depth}.")
        self.width_in, self.width_out = width_in, width_out
        layers: list[nn.Module] = [nn.Linear(width_in, width_out, bias=bias)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(width_out, width_out, bias=bias)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.layers(features)
        return projected
