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
    """A picture resized to ``size``, laid on columns × rows tiles of ``tile`` × ``tile`` pixels, and cut.

    It lies in their middle, or in the upper left corner where it is not ``centred``. ``thumbnail`` says that the whole picture,
    as one tile more, goes with them.
    """

    columns: int
    rows: int
    tile: int
    size: tuple[int, int]  # width, height in pixels, at most the canvas
    thumbnail: bool
    centred: bool = True

    @property
    def corner(self) -> tuple[int, int]:
        """Where the picture's upper left corner lies on the canvas: x, y in pixels."""
        (across, down), (width, height) = self.canvas, self.size
        return ((across - width) // 2, (down - height) // 2) if self.centred else (0, 0)

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


def nearest_shape(width: int, height: int, grids: Sequence[Tiles], tile: int, shortlist: int = 9) -> Tiles:
    """Of the ``shortlist`` grids that overlap the picture best, the one that also has its aspect ratio best.

    TextHawk's shape-adaptive rule (arXiv:2404.09204): overlap is that of two boxes with one corner in common,
    intersection over union; the ratio of columns is counted at equal height. The picture is stretched onto the grid.
    """

    def overlap(grid: Tiles) -> Fraction:
        across, down = grid[0] * tile, grid[1] * tile
        common = min(width, across) * min(height, down)
        return Fraction(common, width * height + across * down - common)

    def likeness(grid: Tiles) -> Fraction:
        columns = Fraction(width * grid[1], height)  # of a picture as high as the grid, in tiles
        return min(columns, Fraction(grid[0])) / max(columns, Fraction(grid[0]))

    nearest = sorted(grids, key=overlap, reverse=True)[:shortlist]
    return max(nearest, key=lambda grid: overlap(grid) + likeness(grid))


def plan_stretched(width: int, height: int, *, tile: int, budget: int, least: int = 1) -> TilePlan:
    """InternVL's plan: the nearest aspect ratio within ``budget`` tiles, stretched; a thumbnail beside more than one tile.

    Used by InternVL 1.5 and its heirs, by V2PE, and by VITA (``tile=448, budget=12``). Raises ``ValueError`` for a picture
    without pixels or a budget without grids.
    """
    _check(width, height, tile)
    columns, rows = closest_aspect(width, height, candidate_grids(budget, least), tile)
    return TilePlan(columns, rows, tile, (columns * tile, rows * tile), thumbnail=columns * rows > 1)


def plan_by_shape(width: int, height: int, *, tile: int, budget: int = 36, longest: int = 12) -> TilePlan:
    """TextHawk's plan (``tile=224``): grids of up to ``longest`` columns or rows, by overlap and aspect ratio, and a thumbnail.

    Raises ``ValueError`` as ``plan_stretched`` does.
    """
    _check(width, height, tile)
    grids = [grid for grid in candidate_grids(budget) if max(grid) <= longest]
    columns, rows = nearest_shape(width, height, grids, tile)
    return TilePlan(columns, rows, tile, (columns * tile, rows * tile), thumbnail=True)


def plan_padded(width: int, height: int, *, tile: int, grids: Sequence[Tiles] = LLAVA_NEXT_GRIDS) -> TilePlan:
    """LLaVA-NeXT's plan: the grid that keeps most detail, aspect ratio kept, and always a thumbnail.

    FlashSloth's larger form is ``tile=384, grids=[(2, 2)]``. Raises ``ValueError`` for a picture without pixels or without
    grids to choose from.
    """
    _check(width, height, tile)
    if not grids:
        raise ValueError("There are no grids to choose from.")
    columns, rows = most_detail(width, height, grids, tile)
    return TilePlan(columns, rows, tile, fitted_size(width, height, (columns, rows), tile), thumbnail=True)


def plan_by_width(width: int, height: int, *, tile: int, budget: int) -> TilePlan:
    """GeoPixel's plan (``tile=560, budget=9``) of a picture wider than high; a higher one is planned lying on its side.

    As many tiles across as the budget bears together with the rows they need, but no more than one and a half times the
    picture's own pixels fill. The aspect ratio is kept, what is empty lies below (or at the right), and there is always a
    thumbnail. Raises ``ValueError`` as ``plan_stretched`` does.
    """
    _check(width, height, tile)
    if height > width:
        lying = plan_by_width(height, width, tile=tile, budget=budget)
        return TilePlan(lying.rows, lying.columns, tile, lying.size[::-1], thumbnail=True, centred=False)
    bearable = [columns for columns, rows in candidate_grids(budget) if ceil(Fraction(columns * height, width)) == rows]
    columns = min(max(bearable), ceil(Fraction(3 * width, 2 * tile)))
    down = max(1, columns * tile * height // width)
    return TilePlan(columns, ceil(down / tile), tile, (columns * tile, down), thumbnail=True, centred=False)


def share_tiles(sizes: Sequence[tuple[int, int]], *, tile: int, budget: int) -> list[int]:
    """How many tiles each of several pictures (width, height) may have, so that with a thumbnail each they keep to ``budget``.

    LEOPARD's rule (arXiv:2410.01744): a picture asks for as many as fill its own pixels, rounded along each side,
    and for none if that is one, as its thumbnail does. Where they ask for too many, all get the same share of it, rounded down.
    Raises ``ValueError`` for pictures without pixels.
    """
    for width, height in sizes:
        _check(width, height, tile)
    asked = [round(Fraction(width, tile)) * round(Fraction(height, tile)) for width, height in sizes]
    asked = [0 if count == 1 else count for count in asked]
    left = max(0, budget - len(sizes))
    return asked if sum(asked) <= left else [count * left // sum(asked) for count in asked]


def plan_together(sizes: Sequence[tuple[int, int]], *, tile: int, budget: int = 50) -> list[TilePlan]:
    """LEOPARD's plans for all pictures (width, height) of a prompt (``tile=364``): tiles and thumbnails keep to ``budget``.

    Each is planned as by ``plan_padded`` over all grids of at least two tiles within its share; one without a share, or with a
    share of one, is its thumbnail alone. More pictures than the budget are a thumbnail each. Raises as ``share_tiles`` does.
    """
    return [
        plan_padded(*size, tile=tile, grids=candidate_grids(share, least=2))
        if share > 1
        else TilePlan(1, 1, tile, (tile, tile), thumbnail=False)
        for size, share in zip(sizes, share_tiles(sizes, tile=tile, budget=budget), strict=True)
    ]


def _scale(width: int, height: int, grid: Tiles, tile: int) -> Fraction:
    """How much the picture grows until it touches two sides of the grid's canvas."""
    return min(Fraction(grid[0] * tile, width), Fraction(grid[1] * tile, height))


def _check(width: int, height: int, tile: int) -> None:
    if min(width, height, tile) < 1:
        raise ValueError(f"A picture of {width} by {height} pixels has no tiles of {tile}.")
