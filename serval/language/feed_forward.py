"""Feed-forward layers: one for all tokens, or several of which each token passes through a few."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.conversation.sequence import MultimodalSequence
from serval.language.config import ExpertsConfig, FeedForwardConfig
from serval.language.reading import through


def _gelu_tanh(states: Tensor) -> Tensor:
    return functional.gelu(states, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
}


class FeedForward(nn.Module):
    """down(act(gate x) · up x): SwiGLU and its kin (Shazeer 2020, arXiv:2002.05202)."""

    reads_sequence = True

    def __init__(self, width: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, config.width, bias=config.bias)
        self.up_proj = nn.Linear(width, config.width, bias=config.bias)
        self.down_proj = nn.Linear(config.width, width, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, hidden: Tensor, sequence: MultimodalSequence | None = None) -> Tensor:
        """(…, width) → the same shape. Maps that look at what tokens are ask for the ``sequence``."""
        if sequence is None:
            return self.down_proj(self.activation(self.gate_proj(hidden)) * self.up_proj(hidden))
        gated = self.activation(through(self.gate_proj, hidden, sequence)) * through(self.up_proj, hidden, sequence)
        return through(self.down_proj, gated, sequence)


def route(logits: Tensor, chosen: int, *, renormalise: bool) -> tuple[Tensor, Tensor]:
    """Shares and experts, each (tokens, chosen), of router logits (tokens, experts): softmax over all in float32, then the
    likeliest; with ``renormalise`` the shares of a token sum to 1 (Mixtral, Jiang et al. 2024, section 2.1)."""
    shares, experts = logits.float().softmax(-1).topk(chosen, dim=-1)
    return (shares / shares.sum(-1, keepdim=True) if renormalise else shares), experts


class ExpertWeights(nn.Module):
    """The feed-forward layers of all experts, as two blocks of weights."""

    def __init__(self, width: int, config: ExpertsConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(config.count, 2 * config.width, width))
        self.down_proj = nn.Parameter(torch.empty(config.count, width, config.width))


class RoutedFeedForward(nn.Module):
    """Σ over a token's experts e of share · FFNₑ(x), chosen by a linear router: Mixtral, Qwen3-MoE. No token is dropped."""

    def __init__(self, width: int, config: ExpertsConfig) -> None:
        super().__init__()
        self.config = config
        self.gate = nn.Linear(width, config.count, bias=False)
        self.experts = ExpertWeights(width, config)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        tokens = hidden.flatten(0, -2)
        shares, experts = route(self.gate(tokens), self.config.chosen, renormalise=self.config.renormalise)
        mixed = torch.zeros_like(tokens)
        for expert in torch.unique(experts).tolist():
            token, choice = torch.where(experts == expert)
            gate, up = functional.linear(tokens[token], self.experts.gate_up_proj[expert]).chunk(2, dim=-1)
            found = functional.linear(self.activation(gate) * up, self.experts.down_proj[expert])
            mixed = mixed.index_add(0, token, (found * shares[token, choice, None]).to(mixed.dtype))
        return mixed.view_as(hidden)
