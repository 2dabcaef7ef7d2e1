"""What is known of tokens wherever they go: in the pass that reads them, and in the cache that keeps their keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from serval.conversation.sequence import Modality, MultimodalSequence

_NAMES = ("modality", "source", "time", "position", "valid", "number")


@dataclass(frozen=True, eq=False)
class Entries:
    """Notes on tokens. Where heads keep different tokens, each has notes of its own; elsewhere heads is 1.

    Attributes:
        modality, source, time, valid: (batch, heads, length), as in `MultimodalSequence`.
        position: (batch, heads, length) or (batch, heads, length, axes).
        number: (batch, heads, length) int64: how many valid tokens of its row were read before; -1 for padding. Unlike a
            position it always grows by one, and it stays when others are forgotten.
        all_valid: no entry is padding.
    """

    modality: Tensor
    source: Tensor
    time: Tensor
    position: Tensor
    valid: Tensor
    number: Tensor
    all_valid: bool

    @classmethod
    def of(cls, sequence: MultimodalSequence, number: Tensor) -> Entries:
        """The notes on a sequence whose tokens are numbered (batch, length)."""
        fields = {name: getattr(sequence, name)[:, None] for name in _NAMES[:-1]}
        return cls(**fields, number=number[:, None], all_valid=bool(sequence.valid.all()))

    @classmethod
    def text(cls, position: Tensor, number: Tensor) -> Entries:
        """The notes on plain text at ``position`` (batch, length)."""
        like = number[:, None]
        return cls(
            modality=torch.full_like(like, Modality.TEXT),
            source=torch.full_like(like, -1),
            time=torch.full(like.shape, torch.nan, dtype=torch.float64, device=like.device),
            position=position[:, None],
            valid=torch.ones_like(like, dtype=torch.bool),
            number=like,
            all_valid=True,
        )

    @property
    def length(self) -> int:
        return self.number.shape[2]

    @property
    def heads(self) -> int:
        return self.number.shape[1]

    def each(self, change: Callable[[Tensor], Tensor]) -> Entries:
        """Every field changed alike."""
        return Entries(**{name: change(getattr(self, name)) for name in _NAMES}, all_valid=self.all_valid)

    def then(self, other: Entries) -> Entries:
        """These, and others behind them."""
        heads = max(self.heads, other.heads)
        joined = {}
        for name in _NAMES:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine.ndim != theirs.ndim:
                raise ValueError(f"{name}: {tuple(theirs.shape)} cannot follow {tuple(mine.shape)}")
            both = [each.expand(-1, heads, *each.shape[2:]) for each in (mine, theirs)]
            joined[name] = torch.cat(both, dim=2)
        return Entries(**joined, all_valid=self.all_valid and other.all_valid)

    def at(self, index: Tensor) -> Entries:
        """Those at ``index`` (batch, heads or 1, kept) along the length; -1 is padding."""
        heads = max(self.heads, index.shape[1])
        real = index >= 0
        safe = index.clamp_min(0).expand(-1, heads, -1)
        taken = {}
        for name in _NAMES:
            field = getattr(self, name).expand(-1, heads, *getattr(self, name).shape[2:])
            shape = safe.reshape(*safe.shape, *(1,) * (field.ndim - 3)).expand(-1, -1, -1, *field.shape[3:])
            taken[name] = field.gather(2, shape)
        taken["valid"] = taken["valid"] & real
        taken["number"] = taken["number"].masked_fill(~real, -1)
        return Entries(**taken, all_valid=bool(taken["valid"].all()))
