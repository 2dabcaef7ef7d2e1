"""A frozen linear map whose rows learn their length and their direction apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serval.adapters.typed_linear import TypedLinear


class DecomposedLinear(nn.Module):
    """m · (W + ΔW) / ‖W + ΔW‖ x + b: (…, width_in) → (…, width_out); norms over each row, ΔW low-rank as in ``TypedLinear``.

    DoRA (Liu et al. 2024, arXiv:2402.09353, equation 5). As in its section 4.3 the norm is taken as a constant when gradients
    are computed. m starts as the norms of W's rows and ΔW at zero, so at first the result is the frozen map's, bit for bit.
    Used by mmE5 (rank 8, alpha 64).

    Raises ``ValueError`` for a rank below 1.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float | None = None,
        dropout: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.direction = TypedLinear(base, rank=rank, alpha=alpha, dropout=dropout, dtype=dtype)
        self.magnitude = nn.Parameter(self._norms().clone())  # (width_out,)
        self.train(base.training)

    def forward(self, hidden: Tensor) -> Tensor:
        base = self.direction.base
        directed: Tensor = self.direction(hidden)
        linear = directed if base.bias is None else directed - base.bias
        return directed + ((self._ratio() - 1) * linear).to(directed.dtype)  # a ratio of 1 adds nothing, not even rounding

    def merged(self) -> nn.Linear:
        """A plain linear map that does the same, with weights of its own; this one stays as it is."""
        base = self.direction.base
        plain = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None).to(base.weight)
        with torch.no_grad():
            plain.weight.copy_(self._ratio()[:, None] * (base.weight + self.direction.update()))
            if base.bias is not None:
                plain.bias.copy_(base.bias)
        return plain

    def _ratio(self) -> Tensor:
        """(width_out,): how much longer each row has become than W + ΔW is; a row of zeros stays one."""
        norms = self._norms()
        return self.magnitude / torch.where(norms > 0, norms, torch.ones_like(norms))

    def _norms(self) -> Tensor:
        with torch.no_grad():
            return torch.linalg.vector_norm(self.direction.base.weight + self.direction.update(), dim=1)
