"""A feed-forward layer made into several experts, of which each token passes through a few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.conversation.sequence import MultimodalSequence
from serval.language.feed_forward import route


class Routing(NamedTuple):
    """Where each token of a call goes; tokens are those of all samples, one sample after the other."""

    logits: Tensor  # (tokens, experts) float32, the router's
    experts: Tensor  # (tokens, chosen) int, best first
    shares: Tensor  # (tokens, chosen) float, 0 for a choice that is not followed
    real: Tensor  # (tokens,) bool, False at padding: it goes nowhere, and no loss counts it


def balance_loss(routings: Sequence[Routing], *, choices: int = 1) -> Tensor:
    """E · Σₖ Σₑ fₖₑ Pₑ: fₖₑ is the share of tokens whose k-th choice is e, Pₑ the mean probability of e.

    Counted over the tokens of all ``routings`` together, for the first ``choices`` choices. With 1, one layer at a time and
    added up, it is MoE-LLaVA's (Lin et al. 2024); with 2, over all layers of a tower, CLIP-MoE's and Mixtral's. An
    even load gives ``choices``; all tokens on one expert, or one pair of them, the number of experts. Experts that choose are
    never idle and need it not.
    """
    logits = torch.cat([routing.logits[routing.real] for routing in routings])
    experts = torch.cat([routing.experts[routing.real, :choices] for routing in routings])
    load = functional.one_hot(experts, logits.shape[-1]).to(logits.dtype).mean(0).sum(0)
    return logits.shape[-1] * (load * logits.softmax(-1).mean(0)).sum()


def z_loss(routings: Sequence[Routing]) -> Tensor:
    """The mean over tokens of (log Σₑ exp logitₑ)²: it keeps logits small (ST-MoE, Zoph et al. 2022, equation 5; IMP)."""
    logits = torch.cat([routing.logits[routing.real] for routing in routings])
    return logits.logsumexp(-1).square().mean()


class ExpertFeedForward(nn.Module):
    """Σ over a token's experts e of gₑ · FFNₑ(x): (batch, length, width) → the same shape.

    - **Tokens choose** (``top_k`` given): each takes its ``top_k`` experts by a softmax over W x: MoE-LLaVA (Lin et al. 2024,
      section 3.2; 4 experts, 2 chosen), Uni-MoE, CLIP-MoE, and the blocks of Mixtral and Qwen3-MoE. With ``renormalise`` a
      token's shares sum to 1, a softmax over its top_k logits; with ``top_k=1`` that share is always 1, and W learns from the
      balance loss alone. ``capacity`` bounds an expert's tokens in one call to ceil(capacity · top_k · tokens / experts), first
      choices in token order before all second ones; a token whose choices are all dropped comes out as zero, so only the
      residual remains. None drops nothing, and then the result for a token does not depend on its company.
    - **Experts choose** (``top_k=None``): each takes the ceil(capacity · tokens / experts) tokens of the call that give it most
      (Zhou et al. 2022, section 3.2; IMP, with ``renormalise=False``). None to all of them take a token. Later tokens decide
      about earlier ones, and a token alone is taken by every expert, so this is for encoders: it refuses a sequence.

    Every expert starts as a copy of ``feed_forward``. What another expert adds is written as its difference from the first
    one's, so where shares sum to 1 the result is at first the dense layer's, bit for bit where the layer treats each row
    alike in any company. For experts given by modality instead of chosen, see ``TypedModule``.

    Raises ``ValueError`` unless 1 ≤ ``top_k`` ≤ ``experts``, and for experts that choose without a capacity.
    """

    reads_sequence = True

    def __init__(
        self,
        feed_forward: nn.Module,
        width: int,
        *,
        experts: int,
        top_k: int | None = 2,
        capacity: float | None = None,
        renormalise: bool = True,
    ) -> None:
        super().__init__()
        if experts < 1 or (top_k is not None and not 1 <= top_k <= experts):
            raise ValueError(f"A token cannot take {top_k} of {experts} experts.")
        if top_k is None and capacity is None:
            raise ValueError("Experts that choose need a capacity: 1.0 takes each token once in the mean.")
        self.experts = nn.ModuleList(deepcopy(feed_forward) for _ in range(experts))
        self.router = nn.Linear(width, experts, bias=False)
        self.top_k, self.capacity, self.renormalise = top_k, capacity, renormalise
        self._notes: list[Routing] | None = None

    def forward(self, hidden: Tensor, sequence: MultimodalSequence | None = None) -> Tensor:
        """Padding of ``sequence`` comes out as zero. Raises ``ValueError`` for a sequence where experts choose."""
        if sequence is not None and self.top_k is None:
            raise ValueError("Experts that choose their tokens see all of them at once: they cannot stand in a decoder.")
        routing = self.route(hidden, None if sequence is None else sequence.valid)
        if self._notes is not None:
            self._notes.append(routing)
        return self.dispatch(hidden, routing)

    def route(self, hidden: Tensor, valid: Tensor | None = None) -> Routing:
        """Experts and shares of all tokens; ``valid`` (batch, length) bool is False at padding."""
        tokens = hidden.flatten(0, -2)
        logits = functional.linear(tokens.float(), self.router.weight.float())  # choices in single precision
        real = torch.ones_like(logits[:, 0], dtype=torch.bool) if valid is None else valid.flatten()
        if self.top_k is None:
            experts, kept = self._choose_tokens(logits, real)
        else:
            best, experts = route(logits, self.top_k, renormalise=False)
            kept = best * (self._fits(experts, real) & real[:, None])
        if self.renormalise:
            kept = kept / kept.sum(-1, keepdim=True).clamp_min(torch.finfo(kept.dtype).tiny)
        return Routing(logits, experts, kept.to(hidden.dtype), real)

    def dispatch(self, hidden: Tensor, routing: Routing) -> Tensor:
        """Each token through the experts of its routing."""
        tokens, shares = hidden.flatten(0, -2), routing.shares
        pivot = (shares > 0).int().argmax(-1)  # the first choice that is followed
        first, parts = torch.zeros_like(tokens), []
        for number, expert in enumerate(self.experts):
            token, choice = ((routing.experts == number) & (shares > 0)).nonzero(as_tuple=True)
            if len(token):
                output = expert(tokens[token])
                parts.append((token, choice, output))
                leads = choice == pivot[token]
                first = first.index_put((token[leads],), output[leads])
        total = (shares.sum(-1) > 0).to(shares.dtype) if self.renormalise else shares.sum(-1)
        mixed = first * total[:, None]
        for token, choice, output in parts:
            mixed = mixed.index_add(0, token, (output - first[token]) * shares[token, choice][:, None])
        return mixed.view_as(hidden)

    def _choose_tokens(self, logits: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Every expert beside every token, and the probability where it takes the token: both (tokens, experts)."""
        assert self.capacity is not None
        probabilities = logits.softmax(-1) * real[:, None]
        room = min(ceil(self.capacity * int(real.sum()) / len(self.experts)), len(logits))
        taken = torch.zeros_like(probabilities).scatter(0, probabilities.topk(room, dim=0).indices, 1.0)
        experts = torch.arange(len(self.experts), device=logits.device).expand_as(probabilities)
        return experts, probabilities * taken

    def _fits(self, experts: Tensor, real: Tensor) -> Tensor:
        """(tokens, chosen) bool: the choice finds room with its expert."""
        if self.capacity is None:
            return torch.ones_like(experts, dtype=torch.bool)
        tokens, chosen = experts.shape
        room = ceil(self.capacity * chosen * int(real.sum()) / len(self.experts))
        queue = functional.one_hot(experts.T.reshape(-1), len(self.experts))  # all first choices, then all second ones
        queue = queue * real.repeat(chosen)[:, None]
        place = (queue.cumsum(0) * queue).sum(-1)  # 1 for the first in line
        return (place <= room).view(chosen, tokens).T


@contextmanager
def routings(model: nn.Module) -> Iterator[list[Routing]]:
    """While it lasts, every ``ExpertFeedForward`` in ``model`` notes each call's routing here, in the order of the calls.

    For the losses above, and for statistics of who goes where.
    """
    notes: list[Routing] = []
    layers = [module for module in model.modules() if isinstance(module, ExpertFeedForward)]
    for layer in layers:
        layer._notes = notes
    try:
        yield notes
    finally:
        for layer in layers:
            layer._notes = None
