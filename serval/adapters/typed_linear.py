"""A frozen linear map with low-rank branches beside it, and the choice of branch for each token."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.adapters.choice import shares_of


class TypedLinear(nn.Module):
    """W x + Σₑ gₑ · (alphaₑ / rankₑ) · Bₑ Aₑ drop(x): (…, width_in) → (…, width_out), W frozen, Aₑ and Bₑ learned.

    ``rank`` is a whole number for one branch, or one for each branch; ``alpha`` is alike, or one number for all, and where it
    is not given every alpha is its rank. One branch is LoRA (Hu et al. 2022, section 4.1). With several, g comes from

    - **given ids**: ``forward(x, ids)``, one whole number for each token (its modality, task or sample's kind; -1 for the bare
      frozen map): Arcana's MM-LoRA (a rank for each modality), GeoPixel's partial LoRA (images' tokens alone), PILL's
      modality adapters, the multiway layers of VLMo and BEiT-3; ``ByModality`` reads the ids from the sequence;
    - **given shares**: ``forward(x, shares)``, a float for each branch: TextHarmony's Slide-LoRA, whose third branch is shared;
    - **a learned gate** (``gated=True``): softmax of a linear map of the token over the branches: mixtures of LoRAs.

    A starts as a linear layer does and every B at zero, so at first the result is the frozen map's, bit for bit. ``merge``
    folds one branch into W and ``unmerge`` takes it out again, bit for bit; save only what is not merged. ``dtype`` is that of
    what is learned, W's own unless given: float32 branches learn well beside a W of bfloat16, and their sum is rounded to W's.

    Raises ``ValueError`` for no branches, a rank below 1, or a number of alphas that is not that of the branches.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int | Sequence[int],
        alpha: float | Sequence[float] | None = None,
        gated: bool = False,
        dropout: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.ranks = (rank,) if isinstance(rank, int) else tuple(rank)
        if alpha is None:
            alpha = self.ranks
        self.alphas = (float(alpha),) * len(self.ranks) if isinstance(alpha, (int, float)) else tuple(map(float, alpha))
        if min(self.ranks, default=0) < 1 or len(self.alphas) != len(self.ranks):
            raise ValueError(
                f"Branches of ranks {self.ranks} and alphas {self.alphas}: each branch has one, of rank 1 or more."
            )
        self.base = base.requires_grad_(False)
        learned = torch.empty(0, device=base.weight.device, dtype=dtype or base.weight.dtype)
        # all branches as one pair of matrices, their ranks side by side
        self.down = nn.Parameter(learned.new_empty(sum(self.ranks), base.in_features))
        self.up = nn.Parameter(learned.new_zeros(base.out_features, sum(self.ranks)))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # it looks at width_in alone, so branches start as if apart
        self.gate = nn.Linear(base.in_features, len(self.ranks), bias=False).to(learned) if gated else None
        self.dropout = nn.Dropout(dropout)
        self._unmerged: Tensor | None = None
        self.train(base.training)  # in a model that is evaluated nothing is dropped

    @property
    def branches(self) -> int:
        return len(self.ranks)

    @property
    def merged(self) -> bool:
        """The frozen map holds a branch."""
        return self._unmerged is not None

    def scale(self, branch: int) -> float:
        """What the branch's product is multiplied by."""
        return self.alphas[branch] / self.ranks[branch]

    def forward(self, hidden: Tensor, choice: Tensor | None = None) -> Tensor:
        """``choice`` is ids, whole numbers from -1 to branches - 1, of a shape that expands to that of ``hidden`` without its
        width: (batch, 1) chooses by sample, (batch, length) by token. Or it is shares: floats, with a last axis of branches.

        Raises ``ValueError`` for a choice together with a gate, for several branches with neither, and for any choice while
        a branch is merged.
        """
        frozen: Tensor = self.base(hidden)
        if self.merged:
            if choice is not None or self.gate is not None:
                raise ValueError("A branch is merged into the frozen map: every token takes it, and there is no choice.")
            return frozen
        hidden = hidden.to(self.down.dtype)
        inner = functional.linear(self.dropout(hidden), self.down) * self._weights(hidden, choice)
        return frozen + functional.linear(inner, self.up).to(frozen.dtype)

    def update(self, branch: int = 0) -> Tensor:
        """(width_out, width_in): what the branch adds to the frozen weight."""
        start = sum(self.ranks[:branch])
        part = slice(start, start + self.ranks[branch])
        return self.scale(branch) * (self.up[:, part] @ self.down[part])

    def merge(self, branch: int = 0) -> None:
        """From now on the frozen map holds this branch, and runs alone. Raises ``ValueError`` while a branch is merged."""
        if self.merged:
            raise ValueError("A branch is merged already; unmerge it first.")
        self._unmerged = self.base.weight.detach().clone()
        with torch.no_grad():
            self.base.weight += self.update(branch)

    def unmerge(self) -> None:
        """The frozen weight as it was before ``merge``, bit for bit. Raises ``ValueError`` where no branch is merged."""
        if self._unmerged is None:
            raise ValueError("No branch is merged.")
        with torch.no_grad():
            self.base.weight.copy_(self._unmerged)
        self._unmerged = None

    def _weights(self, hidden: Tensor, choice: Tensor | None) -> Tensor | float:
        """How much of each rank a token takes, scales included: a number, or (…, ranks of all branches)."""
        if self.gate is not None:
            if choice is not None:
                raise ValueError("Branches are chosen by the caller or by the learned gate, not by both.")
            shares: Tensor | None = self.gate(hidden).softmax(-1)
        else:
            shares = shares_of(choice, self.branches, hidden.dtype)
        if shares is None:
            return self.scale(0)
        each = [shares[..., e : e + 1] * self.scale(e) for e in range(self.branches)]
        return torch.cat([share.expand(*share.shape[:-1], rank) for share, rank in zip(each, self.ranks, strict=True)], dim=-1)
