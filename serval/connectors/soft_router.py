"""How much each of several encoders gives to each sample or each token, learned from what guides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Guidance = Literal["instruction", "cls", "learned"]
"""What the weights follow from: a vector given with each call, the first token of one of the sources, or nothing."""


class SoftRouter(nn.Module):
    """Sources of (batch, tokens, width) each → Σᵢ aᵢ sourceᵢ, of the same shape; a = softmax(W₂ GELU(W₁ g + b₁) + b₂).

    The guidance g is an ``"instruction"``'s embedding, given with each call: MoME's mixture of vision experts (Shen et al.
    2024, arXiv:2407.12709), one weight for each sample and source. Or it is the first token of source number
    ``guide``, the frame's ``"cls"``: LION-FS's token aggregation router (Li et al. 2025, arXiv:2503.03663), with
    ``positions=10`` a weight for each token as well. What the other sources hold changes no weight in either. ``"learned"``
    weights are the same for all samples, and alike at first: the static baseline of LION-FS.

    Args:
        width: of the guidance; with ``"cls"`` that of the sources.
        sources: how many.
        positions: tokens that have weights of their own; None for one weight for all.

    Raises ``ValueError`` for no sources, and for a ``guide`` that is none of them.
    """

    def __init__(
        self, width: int, *, sources: int, positions: int | None = None, guidance: Guidance = "instruction", guide: int = 0
    ) -> None:
        super().__init__()
        if not 0 <= guide < sources:
            raise ValueError(f"Source {guide} of {sources} cannot guide.")
        self.sources, self.positions, self.guidance, self.guide = sources, positions, guidance, guide
        outputs = (positions or 1) * sources
        self.static = nn.Parameter(torch.zeros(outputs)) if guidance == "learned" else None
        self.layers = (
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs)) if self.static is None else None
        )

    def forward(self, sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
        """``condition`` (batch, width) is given just where an instruction guides. Raises ``ValueError`` where it is not so, or
        where sources are not as many, as long or as wide as they should be."""
        return mix(sources, self.weights(sources, condition))

    def weights(self, sources: Sequence[Tensor], condition: Tensor | None = None) -> Tensor:
        """(batch, positions or 1, sources), each row summing to 1. Raises ``ValueError`` as ``forward`` does."""
        if (condition is None) == (self.guidance == "instruction"):
            raise ValueError(f"A condition is given just where an instruction guides; here it is {self.guidance}.")
        shape = sources[0].shape if sources else torch.Size()
        if len(sources) != self.sources or any(source.shape != shape for source in sources):
            raise ValueError(f"Sources of {[tuple(source.shape) for source in sources]}: expected {self.sources}, all alike.")
        if self.positions not in (None, shape[1]):
            raise ValueError(f"Sources of {shape[1]} tokens for weights of {self.positions}.")
        if self.layers is None:
            assert self.static is not None
            logits: Tensor = self.static.expand(shape[0], -1)
        else:
            logits = self.layers(sources[self.guide][:, 0] if condition is None else condition)
        return logits.view(shape[0], -1, self.sources).softmax(-1)


def mix(sources: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σᵢ weights[…, i] · sourceᵢ: (batch, tokens, width) each by (batch, tokens or 1, sources).

    A weight of 1 beside zeros gives that source bit for bit.
    """
    return torch.stack([source * weights[..., i, None] for i, source in enumerate(sources)]).sum(0)


def contributions(sources: Sequence[Tensor], weights: Tensor) -> Tensor:
    """(batch, sources): the mean length of what each source adds to a token. Weights alone do not tell which source matters,
    as sources are of different scales (MoME)."""
    return torch.stack([(source * weights[..., i, None]).norm(dim=-1).mean(-1) for i, source in enumerate(sources)], dim=-1)
