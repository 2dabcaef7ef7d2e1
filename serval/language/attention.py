"""Causal self-attention with grouped queries (Ainslie et al. 2023, arXiv:2305.13245)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.language.cache import KVCache
from serval.language.config import LlamaConfig
from serval.language.rotary import turn


class Attention(nn.Module):
    """Every token looks at itself and at those before it, in the order they were read, not of their positions."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        width = config.hidden_size
        self.q_proj = nn.Linear(width, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, width, bias=False)

    def forward(self, hidden: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache | None) -> Tensor:
        """``hidden`` and the result are (batch, new, width); ``angles`` are those of the new tokens."""
        batch, new, _ = hidden.shape
        queries = self.q_proj(hidden).view(batch, new, self.heads, self.head_dim).transpose(1, 2)
        keys = self.k_proj(hidden).view(batch, new, self.kv_heads, self.head_dim).transpose(1, 2)
        values = self.v_proj(hidden).view(batch, new, self.kv_heads, self.head_dim).transpose(1, 2)
        queries, keys = turn(queries, *angles), turn(keys, *angles)
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values)
        mixed = self._mix(queries, keys, values)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, new, self.heads * self.head_dim))

    def _mix(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(batch, heads, new, head_dim): values weighed by how well their keys answer the queries."""
        batch, _, new, _ = queries.shape
        total = keys.shape[2]
        if new == 1:  # the queries that share a head of keys ask as if they were several tokens; nothing is copied
            grouped = queries.view(batch, self.kv_heads, self.heads // self.kv_heads, self.head_dim)
            return functional.scaled_dot_product_attention(grouped, keys, values).view_as(queries)
        groups = self.heads // self.kv_heads
        keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
        if new == total:
            return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        seen = torch.ones(new, total, dtype=torch.bool, device=queries.device).tril(total - new)
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
