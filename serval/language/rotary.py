"""Rotary positions (Su et al. 2021, arXiv:2104.09864), in Hugging Face's layout: a head's halves turn against each other."""

from __future__ import annotations

import torch
from torch import Tensor


def angles(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine by which queries and keys at real-valued ``positions`` (batch, length) are turned.

    Both are (batch, 1, length, head_dim), float32; pair i turns ``theta ** (-2i / head_dim)`` radians a position.
    """
    steps = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    turned = positions.to(torch.float32)[:, None, :, None] / theta**steps
    both = torch.cat((turned, turned), dim=-1)
    return both.cos(), both.sin()


def turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """``states`` (batch, heads, length, head_dim) turned by `angles`."""
    first, second = states.chunk(2, dim=-1)
    return states * cosine.to(states.dtype) + torch.cat((-second, first), dim=-1) * sine.to(states.dtype)
