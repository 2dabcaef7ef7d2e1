"""One pass of a decoder: the new tokens, what is remembered, and who may see whom. Every layer gets it beside its states."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from serval.conversation.sequence import MultimodalSequence
from serval.language.attention_pattern import CAUSAL, AttentionPattern, window
from serval.language.cache import KVCache
from serval.language.entries import Entries
from serval.language.rotary import Rotary


@dataclass(eq=False)
class Reading:
    """What any mechanism in a decoder may look at.

    Attributes:
        sequence: the new tokens, (batch, new).
        number: (batch, new) int64, as in `Entries`.
        cache: what was read before; layers add to it.
        pattern: which token may see which.
        features: what cross-attention reads, by name: (batch, keys, width).
        commit: (batch, new) bool, which of the new tokens are to be remembered; None for all.
    """

    sequence: MultimodalSequence
    number: Tensor
    cache: KVCache | None = None
    pattern: AttentionPattern = CAUSAL
    features: Mapping[str, Tensor] = field(default_factory=dict)
    commit: Tensor | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)  # angles and masks that several layers ask for

    @cached_property
    def entries(self) -> Entries:
        """The notes on the new tokens."""
        return Entries.of(self.sequence, self.number)

    @cached_property
    def extent(self) -> float:
        """One beyond the furthest position of the new tokens and of all before, in any row."""
        furthest = float(self.sequence.position.max()) if self.sequence.length else -1.0
        if self.cache is not None:
            furthest = max(furthest, float(self.cache.furthest.max()))
        return furthest + 1

    def angles(self, rotary: Rotary, position: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cosine and sine (batch, 1, new, width) at the new tokens; or (batch, heads, length, width) at ``position``
        (batch, heads, length[, axes])."""
        extent = 0.0 if rotary.fixed else self.extent
        if position is not None:
            return rotary.angles(self._axes(rotary, position, 4), extent)
        if rotary not in self._made:
            self._made[rotary] = rotary.angles(self._axes(rotary, self.entries.position, 4), extent)
        return self._made[rotary]

    def _axes(self, rotary: Rotary, position: Tensor, rank: int) -> Tensor:
        """Positions of one axis stand for all of a rotary's axes."""
        if rotary.sections and position.ndim < rank:
            return position[..., None].expand(*position.shape, len(rotary.sections))
        if not rotary.sections and position.ndim == rank:
            raise ValueError(f"Positions of {position.shape[-1]} axes for a rotary of one.")
        return position

    def mask(self, keys: Entries, size: int | None) -> Tensor | None:
        """(batch, heads or 1, new, keys) bool, or None where the pattern is plainly causal: see `causal`."""
        key = (id(keys), size)
        if key not in self._made:
            pattern = self.pattern if size is None else self.pattern & window(size)
            plain = pattern is CAUSAL and keys.all_valid and self.entries.all_valid and keys.heads == 1
            # the notes are kept with the mask, lest others come to stand at the same address
            self._made[key] = (keys, None if plain else pattern.allowed(self.entries, keys))
        return self._made[key][1]

    def first_asked(self, what: Hashable) -> bool:
        """Whether nobody asked this of this pass before: several layers have something to check, and once is enough."""
        asked = what in self._made
        self._made[what] = True
        return not asked

    def select(self, mask: Tensor) -> Reading:
        """The tokens where ``mask`` (batch, new) bool holds, each with its number, source and position."""
        from serval.language.cache import packed

        index = packed(mask)
        number = self.number.gather(1, index.clamp_min(0)).masked_fill(index < 0, -1)
        commit = None if self.commit is None else self.commit.gather(1, index.clamp_min(0))
        return replace(self, sequence=self.sequence.select(mask), number=number, commit=commit, _made={})


@runtime_checkable
class ReadsSequence(Protocol):
    """A projection, norm or feed-forward that looks at what tokens are: ``module(hidden, sequence)``."""

    reads_sequence: bool


def through(module: nn.Module, hidden: Tensor, sequence: MultimodalSequence) -> Tensor:
    """``hidden`` (batch, new, …) through ``module``, which may ask for the sequence beside it."""
    if getattr(module, "reads_sequence", False):
        return module(hidden, sequence)
    return module(hidden)


def gather_rows(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The states where ``mask`` (batch, new) holds, packed: (batch, most, width), and where they stood: (batch, most), -1 at
    padding."""
    from serval.language.cache import packed

    index = packed(mask)
    return hidden.gather(1, index.clamp_min(0)[..., None].expand(-1, -1, hidden.shape[-1])), index


def scatter_rows(hidden: Tensor, changed: Tensor, index: Tensor) -> Tensor:
    """``hidden`` with ``changed`` (batch, most, width) in place of what `gather_rows` took; the others bit for bit."""
    rows, places = torch.nonzero(index >= 0, as_tuple=True)
    return hidden.index_put((rows, index[rows, places]), changed[rows, places])
