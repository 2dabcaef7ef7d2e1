"""Attention of many queries under a pattern or a softcap on a GPU, without a matrix of scores in memory.

PyTorch's flex attention skips blocks of keys that nobody sees and caps scores as it goes (Dong et al. 2024,
arXiv:2412.05496). It is compiled when it is first used, which pays from some hundred queries.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

FEWEST = 256  # queries for which compiling pays


def pays(queries: Tensor, mask: Tensor | None, softcap: float | None) -> bool:
    """On a GPU, for long prompts, where plain fused attention cannot do it. Gradients of masks in blocks are left to it."""
    return queries.is_cuda and queries.shape[2] >= FEWEST and (mask is not None or softcap is not None)


def flex_mix(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    *,
    scale: float,
    softcap: float | None,
    compiled: bool = True,
) -> Tensor:
    """(batch, heads, new, head_dim) from queries of that shape, keys and values (batch, heads of keys, total, head_dim).

    ``seen`` is (batch or 1, heads or 1, new, total) bool, True where a query sees a key.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    rows, heads = seen.shape[0] - 1, seen.shape[1] - 1

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return seen[batch.clamp(max=rows), head.clamp(max=heads), query, key]

    def capped(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert softcap is not None
        return torch.tanh(score / softcap) * softcap

    batch, many = (seen.shape[0] if rows else None), (seen.shape[1] if heads else None)
    new, total = seen.shape[2:]
    blocks = create_block_mask(visible, batch, many, new, total, device=str(queries.device))
    change = None if softcap is None else capped
    mixed: Tensor = _attention(compiled)(
        queries, keys, values, score_mod=change, block_mask=blocks, scale=scale, enable_gqa=queries.shape[1] != keys.shape[1]
    )
    return mixed


@cache
def _attention(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention
