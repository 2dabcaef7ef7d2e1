"""Fewer tokens from a map of features: space to depth, average pooling, windows, bilinear resampling.

A map is (…, rows, columns, width), any leading shape. Flatten its grid for a language model with ``.flatten(-3, -2)``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Grid = tuple[int, int]
"""Rows, columns."""


def windows(features: Tensor, side: int) -> Tensor:
    """(…, rows, columns, width) → (…, rows/side, columns/side, side², width): each cell's patch, row by row.

    Cambrian-1's spatial windows (Tong et al. 2024, section 4): query i of a coarse grid sees window i of each finer tower.
    ``from_windows`` is its exact inverse. Raises ``ValueError`` where the grid does not divide by ``side``.
    """
    *lead, rows, columns, width = features.shape
    if side < 1 or rows % side or columns % side:
        raise ValueError(f"A grid of {rows} by {columns} does not divide into windows of {side} by {side}.")
    split = features.reshape(*lead, rows // side, side, columns // side, side, width)
    return split.transpose(-4, -3).reshape(*lead, rows // side, columns // side, side * side, width)


def from_windows(cells: Tensor, side: int) -> Tensor:
    """(…, rows, columns, side², width) → (…, rows·side, columns·side, width): ``windows`` undone, value by value."""
    *lead, rows, columns, count, width = cells.shape
    if count != side * side:
        raise ValueError(f"Windows of {count} tokens are not {side} by {side}.")
    split = cells.reshape(*lead, rows, columns, side, side, width).transpose(-4, -3)
    return split.reshape(*lead, rows * side, columns * side, width)


def space_to_depth(features: Tensor, side: int) -> Tensor:
    """(…, rows, columns, width) → (…, rows/side, columns/side, side²·width): no value is lost, none is changed.

    The "pixel shuffle" of InternVL 1.5 (Chen et al. 2024, section 3.1; side 2) and Idefics3 and SmolVLM (side 2 to 4), and
    the patch merger of Qwen2-VL (side 2): the channels of a window stand one token after the other, row by row.
    """
    return windows(features, side).flatten(-2)


def depth_to_space(features: Tensor, side: int) -> Tensor:
    """(…, rows, columns, side²·width) → (…, rows·side, columns·side, width): ``space_to_depth`` undone, value by value."""
    *grid, width = features.shape
    if width % (side * side):
        raise ValueError(f"A width of {width} does not hold windows of {side} by {side}.")
    return from_windows(features.reshape(*grid, side * side, width // (side * side)), side)


def window_pool(features: Tensor, side: int, scores: Tensor | None = None) -> Tensor:
    """(…, rows, columns, width) → (…, rows/side, columns/side, width): the mean of each window of ``side`` by ``side``.

    With ``scores`` (…, rows, columns) each token weighs as its share of a softmax over its window: FlashSloth's spatial
    attention pooling (``side=3``), whose scores are a small MLP of the token.
    """
    cells = windows(features, side)
    if scores is None:
        return cells.mean(-2)
    shares = windows(scores[..., None], side).softmax(-2)
    return (cells * shares).sum(-2)


def average_pool(features: Tensor, grid: Grid) -> Tensor:
    """(…, rows, columns, width) → (…, *grid, width): the mean of each of rows × columns cells that cover the map.

    Where the map does not divide, neighbouring cells share a row or column of tokens. VideoLLM-online's and LION-FS's frame
    tokens are ``grid=(3, 3)`` of a 24 by 24 map.
    """
    return _over_pixels(features, lambda pixels: functional.adaptive_avg_pool2d(pixels, grid))


def resample(features: Tensor, grid: Grid) -> Tensor:
    """(…, rows, columns, width) → (…, *grid, width): bilinear between cell centres, smoothing nothing when it shrinks.

    How Cambrian-1 brings the maps of its towers to 24 by 24. The map's own grid gives the map back.
    """
    return _over_pixels(
        features, lambda pixels: functional.interpolate(pixels, size=grid, mode="bilinear", align_corners=False)
    )


def _over_pixels(features: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """``change`` reads and writes (batch, width, rows, columns)."""
    lead = features.shape[:-3]
    pixels = features.reshape(-1, *features.shape[-3:]).permute(0, 3, 1, 2)
    changed = change(pixels).permute(0, 2, 3, 1)
    return changed.reshape(*lead, *changed.shape[1:])
