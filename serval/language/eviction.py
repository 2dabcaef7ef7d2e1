"""What goes when a cache is over its budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from serval.language.attention_pattern import AttentionPattern
from serval.language.cache import Kept, packed
from serval.language.entries import Entries


@dataclass(frozen=True)
class Recent:
    """The first ``sinks`` and the last ``recent`` tokens stay (Xiao et al. 2023, StreamingLLM, arXiv:2309.17453)."""

    recent: int
    sinks: int = 0
    needs_attention: bool = False

    def __call__(self, layer: int, entries: Entries, keys: Tensor, values: Tensor, attention: Tensor | None) -> Kept | None:
        if keys.shape[2] <= self.recent + self.sinks:
            return None
        number = entries.number[:, 0]
        newest = number.amax(1, keepdim=True)
        stays = entries.valid[:, 0] & ((number < self.sinks) | (number > newest - self.recent))
        return Kept(packed(stays)[:, None])


@dataclass(frozen=True)
class Unseen:
    """Only what no later token can see goes: the pattern's results are those of keeping everything."""

    pattern: AttentionPattern
    needs_attention: bool = False

    def __call__(self, layer: int, entries: Entries, keys: Tensor, values: Tensor, attention: Tensor | None) -> Kept | None:
        if self.pattern.needed is None:
            return None
        following = entries.number.amax(2, keepdim=True) + 1
        stays = (entries.valid & self.pattern.needed(entries, following))[:, 0]
        return None if bool(stays.all()) else Kept(packed(stays)[:, None])


@dataclass(frozen=True)
class HeavyHitters:
    """The last ``recent`` tokens stay, and of the others, head by head, the ``heavy`` that received the most attention from
    the newest ones (Zhang et al. 2023, H2O, arXiv:2306.14048, with scores of one pass)."""

    heavy: int
    recent: int
    needs_attention: bool = True

    def __call__(self, layer: int, entries: Entries, keys: Tensor, values: Tensor, attention: Tensor | None) -> Kept | None:
        held = keys.shape[2]
        if held <= self.heavy + self.recent or attention is None:
            return None
        valid = entries.valid.expand(-1, attention.shape[1], -1)
        loud = attention.masked_fill(~valid, -1.0)
        loud[:, :, held - self.recent :] = torch.inf
        index = loud.topk(self.heavy + self.recent, dim=2).indices.sort(dim=2).values
        return Kept(index.masked_fill(~valid.gather(2, index), -1))
