"""Queries that read from features by cross-attention: as many tokens as there are queries, whatever there is to read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Among = Literal["before", "joint"] | None
"""How queries see each other."""


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

    def __init__(
        self, width: int, sources: Sequence[int], heads: int, *, among: Among, head_width: int, normed_heads: bool
    ) -> None:
        super().__init__()
        self.heads, self.joint = heads, among == "joint"
        inner = heads * head_width
        self.among = nn.MultiheadAttention(width, heads, batch_first=True) if among == "before" else None
        self.among_norm = nn.LayerNorm(width) if among == "before" else None
        self.read_norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, inner, bias=False)
        self.source_norms = nn.ModuleList(nn.LayerNorm(source) for source in sources)
        self.keys = nn.ModuleList(nn.Linear(source, inner, bias=False) for source in sources)
        self.values = nn.ModuleList(nn.Linear(source, inner, bias=False) for source in sources)
        self.asked_norm = nn.LayerNorm(head_width) if normed_heads else nn.Identity()
        self.key_norm = nn.LayerNorm(head_width) if normed_heads else nn.Identity()
        self.out = nn.Linear(inner, width, bias=False)
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
        keys = [to_keys(source) for to_keys, source in zip(self.keys, normed, strict=True)]
        values = [to_values(source) for to_values, source in zip(self.values, normed, strict=True)]
        if self.joint:
            keys, values = [*keys, self.keys[-1](queries)], [*values, self.values[-1](queries)]
            if mask is not None:
                mask = torch.cat([mask, mask.new_ones(*mask.shape[:2], queries.shape[1])], dim=-1)
        asked, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.ask(queries), torch.cat(keys, dim=1), torch.cat(values, dim=1))
        )
        asked, key = self.asked_norm(asked), self.key_norm(key)
        if mask is None:
            found = functional.scaled_dot_product_attention(asked, key, value)
        else:
            something = mask.any(-1, keepdim=True)  # a query that may read nothing reads zeros, not NaN
            found = functional.scaled_dot_product_attention(asked, key, value, (mask | ~something)[:, None])
            found = found * something[:, None]
        read: Tensor = self.out(found.transpose(1, 2).flatten(-2))
        return read


class QueryReader(nn.Module):
    """Sources of (batch, keys, width of the source) → (batch, queries, width).

    Queries are learned (``queries`` of them) or given with each call (``queries=None``: language states that read a tower
    again, as in Cambrian-1, or TextHawk's proposals). Several sources are read under one softmax, each with maps of its own;
    a ``mask`` says which keys a query may read, so that ``window_mask`` makes it a spatial vision aggregator (Cambrian-1) or
    FAVOR's windows, and False keys are padding.

    - ``layers`` is their number, and each reads all sources; or for each layer, the sources it reads: Arcana's QLadder
      (``[[0], [1], [2], …]``, one layer of a tower after the other), TextHawk's resampler (``[[3], [3], [3], [2], [2], [2],
      [1], [0]]``, deep levels first).
    - ``among`` is how queries see each other: ``"before"`` reading, by attention of their own; ``"joint"``, as keys beside
      those of the last source and through its maps, which makes it a perceiver (Flamingo, Alayrac et al. 2022, section 2.1:
      AKI, Idefics, LEOPARD's second form, TextHarmony and DEEM); or not at all (None: QLadder, SVA).
    - ``head_width`` is that of a head where it is not the width over the heads (AKI: 1152 wide, 8 heads of 64), and with
      ``normed_heads`` each head's queries and keys are normed (Idefics, TextHarmony).

    The Q-Former of BLIP-2 puts its norms elsewhere: see ``QFormer``.

    Raises ``ValueError`` where ``heads`` does not divide ``width`` and has to, where there is no source or a layer reads one
    that is not there, and where joint queries are not as wide as the source they stand beside.
    """

    def __init__(
        self,
        width: int,
        sources: Sequence[int],
        *,
        queries: int | None,
        layers: int | Sequence[Sequence[int]] = 2,
        heads: int = 8,
        among: Among = "before",
        head_width: int | None = None,
        normed_heads: bool = False,
    ) -> None:
        super().__init__()
        if (width % heads and (head_width is None or among == "before")) or not sources:
            raise ValueError(
                f"A width of {width} over {heads} heads and {len(sources)} sources: heads divide it, one source or more."
            )
        self.reads = [range(len(sources))] * layers if isinstance(layers, int) else [tuple(reads) for reads in layers]
        if not all(reads and all(0 <= source < len(sources) for source in reads) for reads in self.reads):
            raise ValueError(f"Layers that read {self.reads} of {len(sources)} sources: each reads one or more that are there.")
        if among == "joint" and any(sources[reads[-1]] != width for reads in self.reads):
            raise ValueError(
                f"Queries of width {width} stand beside keys of widths {tuple(sources)}: the last is to be as wide."
            )
        self.queries = None if queries is None else nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.layers = nn.ModuleList(
            CrossReading(
                width,
                [sources[source] for source in reads],
                heads,
                among=among,
                head_width=head_width or width // heads,
                normed_heads=normed_heads,
            )
            for reads in self.reads
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, sources: Sequence[Tensor], *, queries: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """``queries`` is (batch, queries, width), given just where none were learned; ``mask`` is (batch or 1, queries or 1,
        keys of all sources) bool, True where a query may read. Raises ``ValueError`` for queries both learned and given, or
        neither."""
        if (queries is None) == (self.queries is None):
            raise ValueError("Queries are either learned or given with each call, and just one of the two.")
        if self.queries is not None:
            queries = self.queries.expand(sources[0].shape[0], -1, -1)
        masks = None if mask is None else torch.split(mask, [source.shape[1] for source in sources], dim=-1)
        state = queries
        for layer, reads in zip(self.layers, self.reads, strict=True):
            its_mask = None if masks is None else torch.cat([masks[source] for source in reads], dim=-1)
            state = layer(state, [sources[source] for source in reads], its_mask)
        read: Tensor = self.norm(state)
        return read
