"""A feed-forward layer made into several experts, of which each token passes through a few."""

from __future__ import annotations

from copy import deepcopy
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Routing(NamedTuple):
    """Where each token goes."""

    experts: Tensor  # (tokens, chosen) int, best first
    shares: Tensor  # (tokens, chosen) float: 0 for a choice dropped, the others of a token sum to 1
    balance: Tensor  # () float: 1 for an even load, the number of experts when all go to one; 0 where ids were given


class ExpertFeedForward(nn.Module):
    """Σ over a token's experts e of gₑ · FFNₑ(x): (batch, length, width) → the same shape.

    - **Token choice**: each token takes its ``top_k`` experts by a softmax over W x, their shares made to sum to 1. MoE-LLaVA
      (Lin et al. 2024, section 3.2; 4 experts, 2 chosen), Uni-MoE, CLIP-MoE. With ``top_k=1`` that share is always 1, and W
      learns from the balance loss alone.
    - **Given ids** (``top_k=None``, no router): ``forward(x, ids)``: LlamaFusion's and Mixture-of-Mamba's modality experts.

    ``capacity`` bounds an expert's tokens in one call to ceil(capacity · top_k · tokens / experts), first choices in token
    order before all second ones; a token whose choices are all dropped comes out as zero, so only the residual remains.
    None drops nothing, and then the result for a token does not depend on its company.

    Every expert starts as a copy of ``feed_forward``. What another expert adds is written as its difference from the first
    one's, so at first the result is the dense layer's, bit for bit where the layer treats each row alike in any company.

    Raises ``ValueError`` unless 1 ≤ ``top_k`` ≤ ``experts``, and for a capacity without a router.
    """

    def __init__(
        self, feed_forward: nn.Module, width: int, *, experts: int, top_k: int | None = 2, capacity: float | None = None
    ) -> None:
        super().__init__()
        if experts < 1 or (top_k is not None and not 1 <= top_k <= experts):
            raise ValueError(f"A token cannot take {top_k} of {experts} experts.")
        if top_k is None and capacity is not None:
            raise ValueError("Given ids are always followed: capacity needs a router.")
        self.experts = nn.ModuleList(deepcopy(feed_forward) for _ in range(experts))
        self.router = None if top_k is None else nn.Linear(width, experts, bias=False)
        self.top_k, self.capacity = top_k, capacity

    def forward(self, hidden: Tensor, ids: Tensor | None = None) -> Tensor:
        """``ids`` (batch, length), or a shape that expands to it, just where there is no router: else ``ValueError``."""
        return self.dispatch(hidden, self.route(hidden, ids))

    def route(self, hidden: Tensor, ids: Tensor | None = None) -> Routing:
        """Experts and shares of all tokens, and the load balance loss E · Σₑ meanₜ p · meanₜ [first choice is e], to be added
        to the objective (MoE-LLaVA: times 0.01)."""
        if (ids is None) == (self.router is None):
            raise ValueError("Experts are chosen by the router or by ids, and just one of the two.")
        if ids is not None:
            if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.experts):
                raise ValueError(f"Ids from {int(ids.min())} to {int(ids.max())} for {len(self.experts)} experts.")
            chosen = ids.expand(hidden.shape[:-1]).reshape(-1, 1)
            return Routing(chosen, torch.ones_like(chosen, dtype=hidden.dtype), hidden.new_zeros(()))
        assert self.router is not None and self.top_k is not None
        logits = functional.linear(hidden.flatten(0, -2).float(), self.router.weight.float())  # choices in single precision
        probabilities = logits.softmax(-1)
        best, experts = probabilities.topk(self.top_k, dim=-1)
        first = functional.one_hot(experts[:, 0], len(self.experts)).to(best.dtype)
        balance = len(self.experts) * (probabilities.mean(0) * first.mean(0)).sum()
        kept = best * self._fits(experts)
        shares = kept / kept.sum(-1, keepdim=True).clamp_min(torch.finfo(kept.dtype).tiny)
        return Routing(experts, shares.to(hidden.dtype), balance)

    def dispatch(self, hidden: Tensor, routing: Routing) -> Tensor:
        """Each token through the experts of its routing."""
        tokens = hidden.flatten(0, -2)
        outputs = tokens.new_zeros(*routing.experts.shape, tokens.shape[-1])  # (tokens, chosen, width)
        for number, expert in enumerate(self.experts):
            token, choice = ((routing.experts == number) & (routing.shares > 0)).nonzero(as_tuple=True)
            if len(token):
                outputs = outputs.index_put((token, choice), expert(tokens[token]))
        pivot = (routing.shares > 0).int().argmax(-1)  # the first choice that was kept
        first = outputs[torch.arange(len(tokens), device=tokens.device), pivot]
        others = (outputs - first[:, None]) * routing.shares[..., None]
        return (first + others.sum(1)).view_as(hidden)

    def _fits(self, experts: Tensor) -> Tensor:
        """(tokens, chosen) bool: the choice finds room with its expert."""
        if self.capacity is None:
            return torch.ones_like(experts, dtype=torch.bool)
        tokens, chosen = experts.shape
        room = ceil(self.capacity * chosen * tokens / len(self.experts))
        queue = functional.one_hot(experts.T.reshape(-1), len(self.experts))  # all first choices, then all second ones
        place = (queue.cumsum(0) * queue).sum(-1)  # 1 for the first in line
        return (place <= room).view(chosen, tokens).T
