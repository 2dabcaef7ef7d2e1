"""Queries that read from features by cross-attention: as many tokens as there are queries, whatever there is to read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional


def window_mask(queries: Sequence[int], keys: Sequence[int]) -> Tensor:
    """(queries, keys) bool: each cell of the queries' grid may read only its own window of the keys' grid.

    Grids are sizes along any number of axes: (rows, columns) for Cambrian-1's spatial windows, (frames,) for FAVOR's windows in
    time. Raises ``ValueError`` where the keys' grid is not a multiple of the queries' along some axis.
    """
    if len(queries) != len(keys) or any(fine % coarse for coarse, fine in zip(queries, keys, strict=True)):
        raise ValueError(f"A grid of {tuple(keys)} does not divide into windows for queries of {tuple(queries)}.")
    owner = torch.zeros(tuple(keys), dtype=torch.long)
    for axis, (coarse, fine) in enumerate(zip(queries, keys, strict=True)):
        along = torch.arange(fine) // (fine // coarse)
        owner = owner * coarse + along.view([-1 if other == axis else 1 for other in range(len(keys))])
    return torch.arange(prod(queries))[:, None] == owner.flatten()


class CrossReading(nn.Module):
    """One layer: queries attend to each other (if asked to), read from all sources under one softmax, and pass an MLP.

    Each source has its own norm and its own maps to keys and values, so towers of any width are read side by side
    (Cambrian-1, Tong et al. 2024, section 4). Norms stand before each step and every step is added to what it changes.
    """

    def __init__(self, width: int, sources: Sequence[int], heads: int, *, self_attention: bool) -> None:
        super().__init__()
        self.heads = heads
        self.among = nn.MultiheadAttention(width, heads, batch_first=True) if self_attention else None
        self.among_norm = nn.LayerNorm(width) if self_attention else None
        self.read_norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, width, bias=False)
        self.source_norms = nn.ModuleList(nn.LayerNorm(source) for source in sources)
        self.keys = nn.ModuleList(nn.Linear(source, width, bias=False) for source in sources)
        self.values = nn.ModuleList(nn.Linear(source, width, bias=False) for source in sources)
        self.out = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, queries: Tensor, sources: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """``queries`` and the result are (batch, queries, width); ``mask`` is (batch or 1, queries or 1, keys) bool."""
        if self.among is not None and self.among_norm is not None:
            normed = self.among_norm(queries)
            queries = queries + self.among(normed, normed, normed, need_weights=False)[0]
        queries = queries + self._read(self.read_norm(queries), sources, mask)
        changed: Tensor = queries + self.feed(self.feed_norm(queries))
        return changed

    def _read(self, queries: Tensor, sources: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        normed = [norm(source) for norm, source in zip(self.source_norms, sources, strict=True)]
        keys = torch.cat([to_keys(source) for to_keys, source in zip(self.keys, normed, strict=True)], dim=1)
        values = torch.cat([to_values(source) for to_values, source in zip(self.values, normed, strict=True)], dim=1)
        asked, keys, values = (
            part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (self.ask(queries), keys, values)
        )
        if mask is None:
            found = functional.scaled_dot_product_attention(asked, keys, values)
        else:
            something = mask.any(-1, keepdim=True)  # a query that may read nothing reads zeros, not NaN
            found = functional.scaled_dot_product_attention(asked, keys, values, (mask | ~something)[:, None])
            found = found * something[:, None]
        read: Tensor = self.out(found.transpose(1, 2).flatten(-2))
        return read


class QueryReader(nn.Module):
    """Sources of (batch, keys, width of the source) → (batch, queries, width).

    Queries are learned (``queries`` of them: Q-Former, Li et al. 2023, section 3.1; perceivers; Muffin) or given with each
    call (``queries=None``: language states that read a tower again, as in Cambrian-1 and Arcana's QLadder). Several sources
    are read under one softmax, each with maps of its own; a ``mask`` says which keys a query may read, so that
    ``window_mask`` makes it a spatial vision aggregator (Cambrian-1) or FAVOR's windows, and False keys are padding.

    Raises ``ValueError`` where ``heads`` does not divide ``width`` or there is no source.
    """

    def __init__(
        self,
        width: int,
        sources: Sequence[int],
        *,
        queries: int | None,
        layers: int = 2,
        heads: int = 8,
        self_attention: bool = True,
    ) -> None:
        super().__init__()
        if width % heads or not sources:
            raise ValueError(
                f"A width of {width} over {heads} heads and {len(sources)} sources: heads divide it, one source or more."
            )
        self.queries = None if queries is None else nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.layers = nn.ModuleList(CrossReading(width, sources, heads, self_attention=self_attention) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, sources: Sequence[Tensor], *, queries: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """``queries`` is (batch, queries, width), given just where none were learned; ``mask`` is (batch or 1, queries or 1,
        keys of all sources) bool, True where a query may read. Raises ``ValueError`` for queries both learned and given, or
        neither."""
        if (queries is None) == (self.queries is None):
            raise ValueError("Queries are either learned or given with each call, and just one of the two.")
        if self.queries is not None:
            queries = self.queries.expand(sources[0].shape[0], -1, -1)
        state = queries
        for layer in self.layers:
            state = layer(state, sources, mask)
        read: Tensor = self.norm(state)
        return read
