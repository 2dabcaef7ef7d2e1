"""A frozen linear map with low-rank branches beside it, and the choice of branch for each token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.adapters.choice import shares_of


class TypedLinear(nn.Module):
    """W x + Σₑ gₑ · (alpha / rank) · Bₑ Aₑ x: (…, width_in) → (…, width_out), W frozen, Aₑ and Bₑ learned.

    One branch is LoRA (Hu et al. 2022, section 4.1). With several, g comes from

    - **given ids**: ``forward(x, ids)``, one whole number for each token (its modality, task or sample's kind; -1 for the bare
      frozen map): Arcana's MM-LoRA, PILL's modality adapters, the multiway layers of VLMo and BEiT-3;
    - **given shares**: ``forward(x, shares)``, a float for each branch: TextHarmony's Slide-LoRA, whose third branch is shared;
    - **a learned gate** (``gated=True``): softmax of a linear map of the token over the branches: mixtures of LoRAs.

    A starts as a linear layer does and every B at zero, so at first the result is the frozen map's, bit for bit. ``merge``
    folds one branch into W and ``unmerge`` takes it out again, bit for bit; save only what is not merged.

    Raises ``ValueError`` for a rank or a number of branches below 1.
    """

    def __init__(
        self, base: nn.Linear, *, rank: int, alpha: float | None = None, branches: int = 1, gated: bool = False
    ) -> None:
        super().__init__()
        if rank < 1 or branches < 1:
            raise ValueError(f"There are no {branches} branches of rank {rank}.")
        self.base = base.requires_grad_(False)
        self.scale = (rank if alpha is None else alpha) / rank
        weight = base.weight
        self.down = nn.Parameter(weight.new_empty(branches, rank, base.in_features))
        self.up = nn.Parameter(weight.new_zeros(branches, base.out_features, rank))
        for branch in self.down:
            nn.init.kaiming_uniform_(branch, a=math.sqrt(5))
        self.gate = nn.Linear(base.in_features, branches, bias=False).to(weight) if gated else None
        self._unmerged: Tensor | None = None

    @property
    def branches(self) -> int:
        return self.down.shape[0]

    def forward(self, hidden: Tensor, choice: Tensor | None = None) -> Tensor:
        """``choice`` is ids, whole numbers from -1 to branches - 1, of a shape that expands to that of ``hidden`` without its
        width: (batch, 1) chooses by sample, (batch, length) by token. Or it is shares: floats, with a last axis of branches.

        Raises ``ValueError`` for a choice together with a gate, for several branches with neither, and for any choice while
        a branch is merged.
        """
        frozen: Tensor = self.base(hidden)
        if self._unmerged is not None:
            if choice is not None or self.gate is not None:
                raise ValueError("A branch is merged into the frozen map: every token takes it, and there is no choice.")
            return frozen
        return frozen + self.scale * self._branches(hidden, self._shares(hidden, choice))

    def update(self, branch: int = 0) -> Tensor:
        """(width_out, width_in): what the branch adds to the frozen weight."""
        return self.scale * self.up[branch] @ self.down[branch]

    def merge(self, branch: int = 0) -> None:
        """From now on the frozen map holds this branch, and runs alone. Raises ``ValueError`` while a branch is merged."""
        if self._unmerged is not None:
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

    def _shares(self, hidden: Tensor, choice: Tensor | None) -> Tensor | None:
        """(…, branches): how much each token takes of each branch; None for all of the only one."""
        if self.gate is not None:
            if choice is not None:
                raise ValueError("Branches are chosen by the caller or by the learned gate, not by both.")
            return self.gate(hidden).softmax(-1)
        return shares_of(choice, self.branches, hidden.dtype)

    def _branches(self, hidden: Tensor, shares: Tensor | None) -> Tensor:
        """All branches as one pair of matrices: their ranks side by side, each rank weighed by its branch's share."""
        branches, rank, _ = self.down.shape
        inner = functional.linear(hidden, self.down.flatten(0, 1))  # (…, branches · rank)
        if shares is not None:
            inner = inner * shares.repeat_interleave(rank, dim=-1)
        return functional.linear(inner, self.up.transpose(0, 1).reshape(-1, branches * rank))
