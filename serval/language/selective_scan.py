"""The recurrence of Mamba-2 in three exact forms (state space duality, Dao and Gu 2024, arXiv:2405.21060).

Each head keeps a state h of head_dim x d_state numbers. At each token

    h = exp(dt A) h + dt x Bᵀ        y = h C + D x

where x (head_dim numbers), dt, B and C (d_state numbers each) are the token's, and A < 0 and D are the head's. B and C are
shared by the heads of a group, as keys and values are in grouped attention. All forms take and give the same tensors:

    x      (batch, length, heads, head_dim)
    dt     (batch, length, heads), how far the state moves at a token; not negative
    A, D   (heads,)
    B, C   (batch, length, groups, d_state)
    state  (batch, heads, head_dim, d_state) before the first token and after the last
    valid  (batch, length) bool; a token where it is False leaves the state alone, wherever it stands, and its y means nothing

and return (y, state), y of x's shape. Everything is computed and returned in float32.
"""
# ruff: noqa: N803, N806 - the letters are the paper's

from __future__ import annotations

import torch
from torch import Tensor


def scan_step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Token after token, as the recurrence reads. The way to read one; the reference for the other forms."""
    driven, fading, B, C, held = _grouped(x, dt, A, B, C, state, valid)
    read = []
    for at in range(x.shape[1]):
        held = held * fading[:, at].exp()[..., None, None] + driven[:, at, ..., None] * B[:, at, :, None, None]
        read.append(torch.einsum("bgrpn,bgn->bgrp", held, C[:, at]))
    return torch.stack(read, dim=1).flatten(2, 3) + D.float()[:, None] * x, held.flatten(1, 2)


def scan_parallel(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """All tokens at once, as attention with C for queries, B for keys, x for values and decay in place of softmax.

    Work and memory grow with the square of the length (the paper's equation 16).
    """
    driven, fading, B, C, held = _grouped(x, dt, A, B, C, state, valid)
    length = x.shape[1]
    # Differences of a long sum: in single precision they would lose what the decay between neighbours is made of.
    since = fading.permute(0, 2, 3, 1).double().cumsum(-1)  # (batch, groups, heads of one, length): log decay since before
    later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
    decay = (since[..., :, None] - since[..., None, :]).float().masked_fill(later, -torch.inf).exp()
    answer = torch.einsum("blgn,bsgn->bgls", C, B)[:, :, None] * decay  # (batch, groups, heads of one, length, length)
    y = torch.einsum("bgrls,bsgrp->blgrp", answer, driven)
    y = y + torch.einsum("blgn,bgrpn->blgrp", C, held) * since.exp().float().permute(0, 3, 1, 2)[..., None]
    until = (since[..., -1:] - since).exp().float().permute(0, 3, 1, 2)[..., None]  # what a token's mark keeps to the end
    held = held * since[..., -1].exp().float()[..., None, None] + torch.einsum("bsgrp,bsgn->bgrpn", driven * until, B)
    return y.flatten(2, 3) + D.float()[:, None] * x, held.flatten(1, 2)


def scan_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    state: Tensor,
    valid: Tensor | None = None,
    *,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """In parallel within chunks of at most ``chunk`` tokens, the state carried from each to the next: work grows with length.

    The cuts are the paper's (section 6); chunks follow one another, so that only one of them is in memory.
    """
    read = []
    for start in range(0, x.shape[1], chunk):
        cut = slice(start, start + chunk)
        mask = None if valid is None else valid[:, cut]
        y, state = scan_parallel(x[:, cut], dt[:, cut], A, B[:, cut], C[:, cut], D, state, mask)
        read.append(y)
    return torch.cat(read, dim=1), state


def _grouped(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dt x, dt A, B, C and the state, in float32, heads split into (groups, heads of one)."""
    groups = B.shape[2]
    dt = dt.float()
    if valid is not None:
        dt = dt.masked_fill(~valid[..., None], 0)  # no time passes: nothing fades and nothing is written
    driven = torch.unflatten(x.float() * dt[..., None], 2, (groups, -1))
    fading = torch.unflatten(dt * A.float(), 2, (groups, -1))
    return driven, fading, B.float(), C.float(), torch.unflatten(state.float(), 1, (groups, -1))
