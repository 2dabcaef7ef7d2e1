"""Layers between a decoder's layers that read features again: cross-attention every few layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.conversation.sequence import Modality
from serval.language.decoder import Decoder
from serval.language.reading import Reading, gather_rows, scatter_rows


def insert_every(decoder: Decoder, every: int, make: Callable[[int], nn.Module], *, start: int = 0) -> list[int]:
    """Put ``make(layer)`` behind layers ``start``, ``start + every`` … (Cambrian-1: 0, 3, … 27; Flamingo, DEEM).

    Returns the layers. What is inserted stands apart from the decoder's own layers, whose names do not change.
    """
    if every < 1:
        raise ValueError(f"Every {every} layers is not often.")
    where = list(range(start, len(decoder.layers), every))
    for layer in where:
        decoder.after(layer, make(layer))
    return where


class CrossAttend(nn.Module):
    """Hidden states of some modalities are replaced by what ``block`` makes of them and of the reading's features.

    Args:
        block: called ``block(queries (batch, count, width), features (batch, keys, any), read (batch, count) bool)`` → as
            queries; ``read`` is False at padding, in rows that have fewer. A query reader with given queries, a spatial
            vision aggregator, `GatedCrossAttention`.
        name: of the features in ``reading.features``. Without them, as in every step after the prompt, nothing is changed.
        modalities: whose states; all by default.
    """

    def __init__(self, block: nn.Module, name: str, modalities: tuple[Modality, ...] = ()) -> None:
        super().__init__()
        self.block, self.name, self.modalities = block, name, modalities

    def forward(self, hidden: Tensor, reading: Reading) -> Tensor:
        """``hidden`` and the result are (batch, new, width); states of other modalities stay bit for bit."""
        features = reading.features.get(self.name)
        if features is None:
            return hidden
        asks = reading.sequence.valid
        if self.modalities:
            asks = asks & torch.isin(reading.sequence.modality, torch.tensor(self.modalities, device=hidden.device))
        if not bool(asks.any()):
            return hidden
        queries, index = gather_rows(hidden, asks)
        return scatter_rows(hidden, self.block(queries, features, index >= 0).to(hidden.dtype), index)


class GatedCrossAttention(nn.Module):
    """x + tanh(α) · attention(x, features), then + tanh(β) · feed-forward, α and β starting at 0: at first x, bit for bit.

    Flamingo (Alayrac et al. 2022, arXiv:2204.14198, section 3.1.2); MMGL's gates. Norms stand before each step.
    """

    def __init__(self, width: int, features: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"A width of {width} does not divide into {heads} heads.")
        self.heads = heads
        self.norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, width, bias=False)
        self.keys, self.values = nn.Linear(features, width, bias=False), nn.Linear(features, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False))
        self.gate, self.feed_gate = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, queries: Tensor, features: Tensor, read: Tensor) -> Tensor:
        """``queries`` and the result are (batch, count, width), ``features`` (batch, keys, features)."""
        parts = self.ask(self.norm(queries)), self.keys(features), self.values(features)
        asked, keys, values = (each.view(*each.shape[:2], self.heads, -1).transpose(1, 2) for each in parts)
        found = functional.scaled_dot_product_attention(asked, keys, values).transpose(1, 2).flatten(2)
        queries = queries + self.gate.tanh() * self.out(found)
        return queries + self.feed_gate.tanh() * self.feed(self.feed_norm(queries))
