"""Self-attention with grouped queries (Ainslie et al. 2023, arXiv:2305.13245), over what is new and what is remembered."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.language.config import AttentionConfig, NormConfig
from serval.language.entries import Entries
from serval.language.flex import flex_mix, pays
from serval.language.norm import RMSNorm
from serval.language.reading import Reading, through
from serval.language.rotary import turn


class Attention(nn.Module):
    """Every token looks at those that the reading's pattern lets it see. Parameters have Hugging Face's names."""

    def __init__(self, width: int, config: AttentionConfig, norm: NormConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        asked, kept = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(width, asked, bias=config.input_bias)
        self.k_proj = nn.Linear(width, kept, bias=config.input_bias)
        self.v_proj = nn.Linear(width, kept, bias=config.input_bias)
        self.o_proj = nn.Linear(asked, width, bias=config.output_bias)
        if config.qk_norm is not None:
            whole = config.qk_norm == "width"
            self.q_norm = RMSNorm(asked if whole else config.head_dim, norm)
            self.k_norm = RMSNorm(kept if whole else config.head_dim, norm)

    def forward(self, hidden: Tensor, reading: Reading) -> Tensor:
        """``hidden`` and the result are (batch, new, width)."""
        config, cache, entries = self.config, reading.cache, reading.entries
        queries, keys, values = self._projected(hidden, reading)
        turned = cache is None or cache.turned
        if config.rotary is not None and turned:
            angles = reading.angles(config.rotary)
            queries, keys = turn(queries, *angles), turn(keys, *angles)
        if cache is not None:
            keys, values, entries = cache.write(self.layer, keys, values, entries)
        if config.rotary is not None and not turned:
            queries, keys = self._turned_late(queries, keys, entries, reading)
        mask = reading.mask(entries, config.window)
        mixed = self._mix(queries, keys, values, mask)
        if cache is not None and (cache.eviction is not None or reading.commit is not None):
            cache.settle(self.layer, queries.shape[2], reading.commit, lambda: self._received(queries, keys, mask))
        return through(self.o_proj, mixed.transpose(1, 2).flatten(2), reading.sequence)

    def _projected(self, hidden: Tensor, reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (batch, heads, new, head_dim)."""
        config, sequence = self.config, reading.sequence
        queries, keys, values = (through(each, hidden, sequence) for each in (self.q_proj, self.k_proj, self.v_proj))
        if config.qk_norm == "width":
            queries, keys = through(self.q_norm, queries, sequence), through(self.k_norm, keys, sequence)
        queries, keys, values = (each.view(*each.shape[:2], -1, config.head_dim) for each in (queries, keys, values))
        if config.qk_norm == "head":
            queries, keys = through(self.q_norm, queries, sequence), through(self.k_norm, keys, sequence)
        queries, keys, values = (each.transpose(1, 2) for each in (queries, keys, values))
        return queries, keys, values

    def _turned_late(self, queries: Tensor, keys: Tensor, entries: Entries, reading: Reading) -> tuple[Tensor, Tensor]:
        """Queries and keys turned now, the keys of the past as well; by their ranks where positions are renumbered."""
        rotary, position, new = self.config.rotary, entries.position, queries.shape[2]
        assert rotary is not None and reading.cache is not None
        if reading.cache.renumbered:
            position = (entries.valid.cumsum(2) - 1).clamp_min(0).float()
        cosine, sine = reading.angles(rotary, position)
        groups = 1 if cosine.shape[1] == 1 else self.config.heads // self.config.kv_heads
        newest = (each[:, :, -new:].repeat_interleave(groups, dim=1) for each in (cosine, sine))
        return turn(queries, *newest), turn(keys, cosine, sine)

    def _mix(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, heads, new, head_dim): values weighed by how well their keys answer the queries."""
        config, new, total = self.config, queries.shape[2], keys.shape[2]
        if pays(queries, mask, config.softcap):
            seen = self._for_heads(mask, new, total, queries.device)
            seen = seen.expand(1, 1, -1, -1) if seen.ndim == 2 else seen
            return flex_mix(queries, keys, values, seen, scale=config.scale, softcap=config.softcap)
        if config.softcap is not None:
            return self._weights(queries, keys, mask).to(values.dtype) @ self._shared(values)
        mix = functional.scaled_dot_product_attention
        if new == 1:  # the queries that share a head of keys ask as if they were several tokens; nothing is copied
            grouped = queries.view(queries.shape[0], config.kv_heads, -1, config.head_dim)
            return mix(grouped, keys, values, attn_mask=mask, scale=config.scale).view_as(queries)
        keys, values = self._shared(keys), self._shared(values)
        if mask is None and new == total:
            return mix(queries, keys, values, is_causal=True, scale=config.scale)
        return mix(queries, keys, values, attn_mask=self._for_heads(mask, new, total, queries.device), scale=config.scale)

    def _weights(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, heads, new, keys) float32: the softmax itself, with the scores kept within ±softcap (Gemma 2)."""
        config = self.config
        scores = queries @ self._shared(keys).transpose(2, 3) * config.scale
        if config.softcap is not None:
            scores = torch.tanh(scores / config.softcap) * config.softcap
        seen = self._for_heads(mask, queries.shape[2], keys.shape[2], queries.device)
        return scores.float().masked_fill(~seen, -torch.inf).softmax(-1)

    def _received(self, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, heads of keys, keys) float32: the attention that each key got, from all queries that ask its head."""
        weights = self._weights(queries, keys, mask).sum(2)
        return weights.view(weights.shape[0], self.config.kv_heads, -1, weights.shape[2]).sum(2)

    def _for_heads(self, mask: Tensor | None, new: int, total: int, device: torch.device) -> Tensor:
        """The mask for every head of queries; a causal one where there is none."""
        if mask is None:
            return torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
        return mask if mask.shape[1] == 1 else self._shared(mask)

    def _shared(self, keys: Tensor) -> Tensor:
        """(batch, heads of keys, …) → (batch, heads, …): each head of keys for all the queries that share it."""
        return keys.repeat_interleave(self.config.heads // self.config.kv_heads, dim=1)
