"""One token, or a few, for a part of a picture: grid quadrants, boxes, masks.

A map is (…, rows, columns, width) and covers the whole picture; boxes are fractions of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serval.connectors.grid_reducer import Grid, average_pool
from serval.media.box import Box


def quadrant_pool(features: Tensor, cells: Grid = (3, 3), split: Grid = (2, 2)) -> Tensor:
    """(…, rows, columns, width) → (…, parts, cells, width): each part of the map pooled as if it were a frame of its own.

    LION-FS's grid tokens (Li et al. 2025, slow path): a 24 by 24 map gives four pseudo-frames of nine tokens, the 36 values of
    a 6 by 6 pool in the order a model trained on 3 by 3 frames knows. Parts and cells stand row by row.

    Raises ``ValueError`` where the map does not divide into ``split`` parts.
    """
    *lead, rows, columns, width = features.shape
    down, across = split
    if rows % down or columns % across:
        raise ValueError(f"A map of {rows} by {columns} does not divide into {down} by {across} parts.")
    parts = features.reshape(*lead, down, rows // down, across, columns // across, width).transpose(-4, -3)
    pooled = average_pool(parts, cells)  # (…, down, across, *cells, width)
    return pooled.reshape(*lead, down * across, cells[0] * cells[1], width)


def masks_of_boxes(boxes: Sequence[Box], grid: Grid) -> Tensor:
    """(boxes, rows, columns) bool: the cells whose centre lies in the box; for a box that holds none, the cell it lies in."""
    rows, columns = grid
    masks = torch.zeros(len(boxes), rows, columns, dtype=torch.bool)
    down, across = (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns
    for mask, box in zip(masks, boxes, strict=True):
        mask |= ((down >= box.top) & (down <= box.bottom))[:, None] & ((across >= box.left) & (across <= box.right))
        if not mask.any():
            x, y = box.center
            mask[min(max(int(y * rows), 0), rows - 1), min(max(int(x * columns), 0), columns - 1)] = True
    return masks


def masks_on_grid(masks: Tensor, grid: Grid) -> Tensor:
    """(…, height, width) pixel masks → (…, rows, columns) float: the share of each cell that the mask covers, 0 to 1."""
    return average_pool(masks.float()[..., None], grid)[..., 0]


def mask_pool(features: Tensor, masks: Tensor) -> Tensor:
    """(…, rows, columns, width) by (…, regions, rows, columns) → (…, regions, width): the mean of the cells of each mask.

    Masks may be bool, or shares between 0 and 1 that weigh the cells. An empty mask gives zeros. Mask pooling as in
    FINECAPTION and REF-VLM.
    """
    weights = masks.to(features.dtype).flatten(-2)
    total = weights.sum(-1, keepdim=True)
    pooled = weights @ features.flatten(-3, -2)
    return pooled / torch.where(total > 0, total, torch.ones_like(total))


def box_pool(features: Tensor, boxes: Sequence[Box]) -> Tensor:
    """(…, rows, columns, width) → (…, boxes, width): the mean of the tokens inside each box, no rows for no boxes.

    LION-FS's box tokens: one for each hand and for the object it holds.
    """
    masks = masks_of_boxes(boxes, (features.shape[-3], features.shape[-2]))
    return mask_pool(features, masks.to(features.device))
