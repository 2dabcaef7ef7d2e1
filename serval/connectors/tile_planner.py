"""How a large picture is cut into tiles of a tower's size: candidate grids, a score, a budget. Whole numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from serval.media.box import Box

Tiles = tuple[int, int]
"""Columns, rows."""

LLAVA_NEXT_GRIDS: tuple[Tiles, ...] = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
"""The grids LLaVA-NeXT chooses from; its configuration's order, read as height by width, settles ties."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """A picture resized to ``size``, laid in the middle of columns × rows tiles of ``tile`` × ``tile`` pixels, and cut.

    ``thumbnail`` says that the whole picture, as one tile more, goes with them.
    """

    columns: int
    rows: int
    tile: int
    size: tuple[int, int]  # width, height in pixels, at most the canvas
    thumbnail: bool

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of all tiles together, in pixels."""
        return self.columns * self.tile, self.rows * self.tile

    @property
    def count(self) -> int:
        """Pictures for the tower: the tiles, and the thumbnail if there is one."""
        return self.columns * self.rows + self.thumbnail

    def boxes(self) -> list[Box]:
        """Each tile's place on the canvas, row by row; the canvas is the unit square."""
        return [
            Box(x / self.columns, y / self.rows, (x + 1) / self.columns, (y + 1) / self.rows)
            for y in range(self.rows)
            for x in range(self.columns)
        ]


def candidate_grids(budget: int, least: int = 1) -> list[Tiles]:
    """Every grid of ``least`` to ``budget`` tiles, small before large. Raises ``ValueError`` where there is none."""
    if not 1 <= least <= budget:
        raise ValueError(f"No grid has between {least} and {budget} tiles.")
    grids = [(columns, rows) for columns in range(1, budget + 1) for rows in range(1, budget // columns + 1)]
    return sorted((grid for grid in grids if grid[0] * grid[1] >= least), key=lambda grid: (grid[0] * grid[1], grid))


def closest_aspect(width: int, height: int, grids: Sequence[Tiles], tile: int) -> Tiles:
    """The grid whose aspect ratio is nearest to the picture's; of equals, the largest that the picture fills by half.

    InternVL 1.5's rule (Chen et al. 2024, section 3.3). The picture is stretched onto the grid.
    """
    best, nearest = grids[0], float("inf")
    for columns, rows in grids:
        distance = abs(width / height - columns / rows)
        if distance < nearest or (distance == nearest and width * height > 0.5 * tile * tile * columns * rows):
            best, nearest = (columns, rows), distance
    return best


def fitted_size(width: int, height: int, grid: Tiles, tile: int) -> tuple[int, int]:
    """The width and height in pixels, of the picture's aspect ratio, that fill the grid's canvas; parts of pixels round up."""
    scale = _scale(width, height, grid, tile)
    return ceil(width * scale), ceil(height * scale)


def most_detail(width: int, height: int, grids: Sequence[Tiles], tile: int) -> Tiles:
    """The grid on which most of the picture's own pixels survive; of equals, the one that pads least, then the first.

    LLaVA-NeXT's rule (its ``select_best_resolution``). The picture keeps its aspect ratio and is padded.
    """

    def score(grid: Tiles) -> tuple[int, int]:
        scale = _scale(width, height, grid, tile)
        kept = min(floor(width * scale) * floor(height * scale), width * height)
        return kept, kept - grid[0] * grid[1] * tile * tile

    return max(grids, key=score)


def plan_stretched(width: int, height: int, *, tile: int, budget: int, least: int = 1) -> TilePlan:
    """InternVL's plan: the nearest aspect ratio within ``budget`` tiles, stretched; a thumbnail beside more than one tile.

    Used by InternVL, GeoPixel and VITA. Raises ``ValueError`` for a picture without pixels or a budget without grids.
    """
    _check(width, height, tile)
    columns, rows = closest_aspect(width, height, candidate_grids(budget, least), tile)
    return TilePlan(columns, rows, tile, (columns * tile, rows * tile), thumbnail=columns * rows > 1)


def plan_padded(width: int, height: int, *, tile: int, grids: Sequence[Tiles] = LLAVA_NEXT_GRIDS) -> TilePlan:
    """LLaVA-NeXT's plan: the grid that keeps most detail, aspect ratio kept, and always a thumbnail.

    Raises ``ValueError`` for a picture without pixels or without grids to choose from.
    """
    _check(width, height, tile)
    if not grids:
        raise ValueError("There are no grids to choose from.")
    columns, rows = most_detail(width, height, grids, tile)
    return TilePlan(columns, rows, tile, fitted_size(width, height, (columns, rows), tile), thumbnail=True)


def _scale(width: int, height: int, grid: Tiles, tile: int) -> Fraction:
    """How much the picture grows until it touches two sides of the grid's canvas."""
    return min(Fraction(grid[0] * tile, width), Fraction(grid[1] * tile, height))


def _check(width: int, height: int, tile: int) -> None:
    if min(width, height, tile) < 1:
        raise ValueError(f"A picture of {width} by {height} pixels has no tiles of {tile}.")
