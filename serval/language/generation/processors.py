"""What is done to logits before a token is drawn from them. Each row of a batch has its own settings.

Everywhere logits are (batch, vocabulary) float32, a token that cannot come has -inf, and a setting is one number for each
row. Results are those of the processors of transformers of the same settings, on a CPU to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: Sequence[float]) -> Tensor:
    """Tokens ``seen`` (batch, vocabulary) bool before become less likely (CTRL, Keskar et al. 2019, arXiv:1909.05858, 4.1).

    A logit above 0 is divided by the penalty, one below is multiplied by it; 1 changes nothing, less than 1 rewards.
    """
    by = _column(penalty, logits)
    return torch.where(seen, torch.where(logits < 0, logits * by, logits / by), logits)


def scale(logits: Tensor, temperature: Sequence[float]) -> Tensor:
    """Below 1 likely tokens become likelier, above 1 less so."""
    return logits / _column(temperature, logits)


def keep_top_k(logits: Tensor, top_k: Sequence[int]) -> Tensor:
    """Only the ``top_k`` likeliest tokens of each row, and what is as likely as the last of them; 0 keeps all."""
    most = min(max(top_k), logits.shape[-1])
    if most == 0:
        return logits
    ranks = torch.tensor([[min(each, most)] for each in top_k], device=logits.device)
    least = logits.topk(most, dim=-1).values.gather(1, (ranks - 1).clamp(min=0))
    return logits.masked_fill((logits < least) & (ranks > 0), -torch.inf)


def keep_top_p(logits: Tensor, top_p: Sequence[float]) -> Tensor:
    """Only the likeliest tokens that together reach the probability ``top_p`` (Holtzman et al. 2020, arXiv:1904.09751)."""
    rising, order = logits.sort(dim=-1, stable=True)
    unlikely = rising.softmax(dim=-1).cumsum(dim=-1) <= _column([1 - each for each in top_p], logits)
    unlikely[:, -1] = False
    return logits.masked_fill(unlikely.scatter(1, order, unlikely), -torch.inf)


def keep_min_p(logits: Tensor, min_p: Sequence[float]) -> Tensor:
    """Only tokens at least ``min_p`` times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    shares = logits.softmax(dim=-1)
    return logits.masked_fill(shares < _column(min_p, logits) * shares.amax(dim=-1, keepdim=True), -torch.inf)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
