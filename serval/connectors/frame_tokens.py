"""The few tokens that stand for a frame of a stream: one for the whole, and the cells of a coarse grid."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from serval.connectors.grid_reducer import Grid, average_pool
from serval.encoders.features import Features

Summary = Literal["pooled", "mean", "prefix"]
"""The token of the whole frame: the tower's own summary, the mean of its map, or its class token."""


def frame_tokens(features: Features, cells: Grid | None = (3, 3), *, summary: Summary = "pooled") -> Tensor:
    """(batch, 1 + cells, width): the frame's summary, then the mean of each cell, row by row; None for the summary alone.

    VideoLLM-online (Chen et al. 2024, arXiv:2406.11816) has SigLIP's pooled output and 3 by 3 cells, or with ``cells=None`` a
    single token. LION-FS (Li et al. 2025, arXiv:2503.03663) has as many of two encoders, with the mean of SigLIP's map.

    Raises ``ValueError`` where the tower gave no such summary, or its tokens stand on no grid.
    """
    if summary == "mean":
        whole: Tensor | None = features.tokens.mean(1)
    elif summary == "prefix":
        whole = None if features.prefix is None else features.prefix[:, 0]
    else:
        whole = features.pooled
    if whole is None:
        raise ValueError(f"This tower gave no {summary} token: take the mean of its map.")
    if cells is None:
        return whole[:, None]
    return torch.cat([whole[:, None], average_pool(features.map, cells).flatten(1, 2)], dim=1)
