"""Scale, shift and gate of hidden states from a condition."""

from __future__ import annotations

from torch import Tensor, nn


class Modulate(nn.Module):
    """x (1 + γ) + β, or around a new branch x + α · branch(x (1 + γ) + β): (…, length, width) → the same shape.

    γ, β and α are one linear map of the condition that starts at zero, so at first x comes out as it went in, bit for bit, and
    a branch comes in only as fast as its gate α opens. Without a branch it is FiLM (Perez et al. 2018), Cocktail's
    ControlNorm and CAM's scale and shift; with one, DiT's adaLN-Zero (Peebles & Xie 2023, section 3.2).
    """

    def __init__(self, width: int, condition: int, branch: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.amounts = nn.Linear(condition, (2 if branch is None else 3) * width)
        nn.init.zeros_(self.amounts.weight)
        nn.init.zeros_(self.amounts.bias)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """``condition`` is (…, width of the condition) for a whole sample, or with a length of its own, one for each token."""
        amounts = self.amounts(condition)
        if condition.ndim < hidden.ndim:
            amounts = amounts.unsqueeze(-2)
        if self.branch is None:
            scale, shift = amounts.chunk(2, dim=-1)
            return hidden * (1 + scale) + shift
        scale, shift, gate = amounts.chunk(3, dim=-1)
        changed: Tensor = hidden + gate * self.branch(hidden * (1 + scale) + shift)
        return changed
