"""From a picture or a video's frames to what a tower reads, in each family's way, and planned in whole numbers first.

How many tokens a medium becomes is known before a pixel is touched, and text is never asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from serval.connectors.grid_reducer import from_windows, resample
from serval.connectors.tile_planner import Tiles, most_detail, plan_stretched
from serval.encoders.features import Grid
from serval.encoders.picture_input import Picture, PictureInput
from serval.refusal import Refusal

SLIMMEST = 200  # times as long as wide that a picture may be: Qwen's limit, taken for all
FRAMES = 768  # of one video
_EDGE, _ALL = "<fake_token_around_image>", "<global-img>"  # Idefics3's and SmolVLM's tokens
_LARGEST = 4096  # pixels of a side in Idefics3, whatever its configuration asks for


@dataclass(frozen=True)
class Plan:
    """What becomes of a medium.

    Attributes:
        layout: what stands in its place: counts of its tokens, and what is written between them.
        grid: frames or pairs of them, rows, columns: of tiles; or of patches, where a tower takes any grid of them.
        kept: (rows, columns) of the tiles' tokens that are not of padding (LLaVA-NeXT).
        shrunk: what those are resampled to where they are too many (LLaVA-OneVision).
        video: it is one.
    """

    layout: tuple[str | int, ...]
    grid: tuple[int, int, int] = (1, 1, 1)
    kept: Grid | None = None
    shrunk: Grid | None = None
    video: bool = False

    @property
    def counts(self) -> list[int]:
        """Of its tokens, those that stand together."""
        return [part for part in self.layout if isinstance(part, int)]

    @property
    def tokens(self) -> int:
        return sum(self.counts)


class Pictures(Protocol):
    """A family's way with pictures."""

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """For a picture, or a video of so many ``frames``; ``alone`` says that the conversation has no other picture.

        Raises `Refusal` for a video where the family knows only pictures.
        """
        ...

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> Tensor | tuple[Tensor, ...]:
        """(tiles, 3, side, side) float32, or (patches, numbers of a patch), of one picture or of a video's frames; for a
        bank, one for each tower."""
        ...


@dataclass(frozen=True)
class Whole:
    """LLaVA-1.5 (Liu et al. 2024, arXiv:2310.03744): one view of the picture, cropped in the middle."""

    input: PictureInput
    tokens: int

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """See `Pictures`."""
        _pictures_only(frames)
        return Plan((self.tokens,))

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> Tensor:
        """(1, 3, side, side)."""
        return self.input(frames).values


@dataclass(frozen=True)
class AnyResolution:
    """LLaVA-NeXT and LLaVA-OneVision: the whole picture small, then in tiles.

    Attributes:
        input: how bytes are scaled, and which filter resizes.
        tile, side: of a tile, in pixels and in tokens.
        most: tiles' worth of tokens beyond which they are resampled (Li et al. 2024, arXiv:2408.03326, section 3.2). Then
            several pictures get one tile each, and frames of videos a pooled one. None for LLaVA-NeXT.
    """

    input: PictureInput
    grids: tuple[Tiles, ...]
    tile: int
    side: int
    most: int | None = None

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """See `Pictures`."""
        if self.most is None:
            _pictures_only(frames)
        elif frames:
            return Plan((frames * math.ceil(self.side / 2) ** 2 + 1,), (frames, 1, 1), video=True)
        elif not alone:
            return Plan((self.side**2 + 1,))
        columns, rows = most_detail(width, height, self.grids, self.tile)
        kept, shrunk = _kept(height, width, (rows * self.side, columns * self.side)), None
        if self.most is not None:
            ratio = math.sqrt(kept[0] * kept[1] / (self.most * self.side**2))
            shrunk = (int(kept[0] // ratio), int(kept[1] // ratio)) if ratio > 1.1 else None
        lines, length = shrunk or kept
        return Plan((self.side**2 + lines * (length + 1),), (1, rows, columns), kept, shrunk)

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> Tensor:
        """(tiles, 3, tile, tile), the whole picture first; or (pictures or frames, 3, tile, tile)."""
        square, (height, width) = (self.tile, self.tile), frames[0].shape[:2]
        if plan.kept is None:
            color = [int(each * 255) for each in self.input.mean]
            views = frames if plan.video else [_amid(frames[0], (max(height, width),) * 2, color)]
            return self.input([self._resized(each, square) for each in views]).values
        canvas = plan.grid[1] * self.tile, plan.grid[2] * self.tile
        tiles = _cut(_amid(self._resized(frames[0], _fitted((height, width), canvas)), canvas, [0, 0, 0]), self.tile)
        return self.input([self._resized(frames[0], square), *tiles]).values

    def _resized(self, picture: Picture, size: Grid) -> Picture:
        return _resized(picture, size, self.input)


@dataclass(frozen=True)
class Stretched:
    """InternVL (Chen et al. 2024, arXiv:2404.16821, section 3.3): tiles of the stretched picture, then all of it small."""

    input: PictureInput
    tile: int
    tokens: int
    budget: int
    least: int = 1

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """See `Pictures`."""
        _pictures_only(frames)
        tiles = plan_stretched(width, height, tile=self.tile, budget=self.budget, least=self.least)
        return Plan((self.tokens * tiles.count,), (1, tiles.rows, tiles.columns))

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> Tensor:
        """(tiles, 3, tile, tile), the whole picture last."""
        _, rows, columns = plan.grid
        views = _cut(_resized(frames[0], (rows * self.tile, columns * self.tile), self.input), self.tile)
        whole = [_resized(frames[0], (self.tile, self.tile), self.input)] if len(views) > 1 else []
        return self.input(views + whole).values


@dataclass(frozen=True)
class Split:
    """Idefics3 and SmolVLM (Laurençon et al. 2024, arXiv:2408.12637): tiles, each after a token that says where it was, then
    all of the picture small.

    Attributes:
        longest: pixels that the longer side is brought to first.
        split: both sides then become multiples of the tile's; otherwise the picture becomes one tile.
    """

    input: PictureInput
    tile: int
    tokens: int
    longest: int
    split: bool = True

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """See `Pictures`."""
        _pictures_only(frames)
        rows, columns = (side // self.tile for side in self._sizes(height, width)[-1])
        layout: list[str | int] = []
        for row in range(1, rows + 1) if rows * columns > 1 else ():
            for column in range(1, columns + 1):
                layout += [f"{_EDGE}<row_{row}_col_{column}>", self.tokens]
            layout.append("\n" if row < rows else "\n\n")
        return Plan((*layout, f"{_EDGE}{_ALL}", self.tokens, _EDGE), (1, rows, columns))

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> Tensor:
        """(tiles, 3, tile, tile), the whole picture last."""
        picture = frames[0]
        for size in self._sizes(*picture.shape[:2]):
            picture = _resized(picture, size, self.input)
        views = _cut(picture, self.tile)
        whole = [_resized(picture, (self.tile, self.tile), self.input)] if len(views) > 1 else []
        return self.input(views + whole).values

    def _sizes(self, height: int, width: int) -> list[Grid]:
        """The sizes that a picture is brought to, one after the other."""
        rows, columns = _along(height, width, self.longest)
        first = _some((rows + rows % 2, columns) if width >= height else (rows, columns + columns % 2))
        if max(first) > _LARGEST:
            first = _some(_along(*first, _LARGEST))
        if not self.split:
            return [first, (self.tile, self.tile)]
        full = _along(*first, math.ceil(max(first) / self.tile) * self.tile)
        rows, columns = (max(math.ceil(side / self.tile), 1) * self.tile for side in full)
        return [first, (rows, columns)]


@dataclass(frozen=True)
class Patches:
    """Qwen2-VL (Wang et al. 2024, arXiv:2409.12191): any picture as patches of its own proportions, frames in pairs.

    Attributes:
        patch, merge, pair: side of a patch in pixels and of a token in patches; frames that are seen together.
        picture, frame: the fewest and most pixels that a picture, or a video's frame, is brought to.
    """

    input: PictureInput
    patch: int
    merge: int
    pair: int
    picture: tuple[int, int]
    frame: tuple[int, int]

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """See `Pictures`."""
        size = _rounded(height, width, self.patch * self.merge, *(self.frame if frames else self.picture))
        (rows, columns), groups = (side // self.patch for side in size), math.ceil(frames / self.pair) or 1
        return Plan((groups * rows * columns // self.merge**2,), (groups, rows, columns), video=frames > 0)

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> Tensor:
        """(patches, channels · pair · patch²), those of a token together."""
        groups, rows, columns = plan.grid
        frames = [*frames, *[frames[-1]] * (groups * self.pair - len(frames))]
        size = (rows * self.patch, columns * self.patch)
        values = self.input([_resized(each, size, self.input) for each in frames]).values
        down, across = ((side // self.merge, self.merge, self.patch) for side in (rows, columns))
        split = values.reshape(groups, self.pair, 3, *down, *across)
        # pair of frames, place of the token, place of the patch in it; then channel, frame, row, column
        return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).flatten(5).flatten(0, 4)


def pack(tokens: Tensor, plan: Plan, newline: Tensor | None) -> Tensor:
    """(plan.tokens, width) of what a connector gave, (tiles, tokens of each, width).

    Args:
        newline: (width,), what ends each row of tokens of LLaVA-NeXT's tiles, a single tile, or a video.
    """
    if newline is None:
        return tokens.flatten(0, 1)
    side = math.isqrt(tokens.shape[1])
    if plan.video:
        half = math.ceil(side / 2)
        return torch.cat((resample(tokens.view(-1, side, side, tokens.shape[2]), (half, half)).flatten(0, 2), newline[None]))
    if plan.kept is None:
        return torch.cat((tokens[0], newline[None]))
    whole = from_windows(tokens[1:].view(*plan.grid[1:], *tokens.shape[1:]), side)
    (top, rows), (left, columns) = (((have - keep) // 2, keep) for have, keep in zip(whole.shape[:2], plan.kept, strict=True))
    whole = whole[top : top + rows, left : left + columns]
    if plan.shrunk is not None:
        whole = resample(whole, plan.shrunk)
    ends = newline.expand(whole.shape[0], 1, -1)
    return torch.cat((tokens[0], torch.cat((whole, ends), dim=1).flatten(0, 1)))


def checked(frames: Sequence[Picture]) -> Grid:
    """Height and width of a picture, or of a video's frames.

    Raises:
        ValueError: one is not (height, width, 3) uint8.
        Refusal: too many of them, of different sizes, or too slim.
    """
    for each in frames:
        if each.dtype != np.uint8 or each.ndim != 3 or each.shape[2] != 3 or not each.size:
            raise ValueError(f"A picture is (height, width, 3) uint8, not {each.shape} {each.dtype}.")
    if not 1 <= len(frames) <= FRAMES:
        raise Refusal("a video", f"it has {len(frames)} frames, and 1 to {FRAMES} can be seen", "take fewer a second")
    if len({each.shape for each in frames}) > 1:
        raise Refusal("a video", "its frames differ in size", "scale them alike")
    height, width = frames[0].shape[:2]
    if max(height, width) > SLIMMEST * min(height, width):
        raise Refusal(f"a picture of {width}x{height}", f"it is more than {SLIMMEST} times as long as wide", "crop it")
    return height, width


def _pictures_only(frames: int) -> None:
    if frames:
        raise Refusal("a video", "this model was made for pictures", "show it frames of it")


def _resized(picture: Picture, size: Grid, how: PictureInput) -> Picture:
    if picture.shape[:2] == size:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size[::-1], Image.Resampling(how.resample)))


def _amid(picture: Picture, size: Grid, color: list[int]) -> Picture:
    """In the middle of a canvas of one colour."""
    canvas = np.empty((*size, 3), dtype=np.uint8)
    canvas[:] = color
    top, left = ((whole - part) // 2 for whole, part in zip(size, picture.shape[:2], strict=True))
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _cut(canvas: Picture, side: int) -> list[Picture]:
    """Tiles of ``side`` by ``side``, row by row."""
    rows, columns = canvas.shape[0] // side, canvas.shape[1] // side
    return list(canvas.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3))


# The rest is in floats, as models were tuned with it: an exact fraction would sometimes come out a pixel larger.


def _fitted(size: Grid, canvas: Grid) -> Grid:
    """The size of the picture's proportions that fills the canvas."""
    down, across = canvas[0] / size[0], canvas[1] / size[1]
    if across < down:
        return min(math.ceil(size[0] * across), canvas[0]), canvas[1]
    return canvas[0], min(math.ceil(size[1] * down), canvas[1])


def _along(height: int, width: int, longer: int) -> Grid:
    """The size of the picture's proportions whose longer side is ``longer``; the other may come out as 0."""
    shape = width / height
    return (int(longer / shape), longer) if width >= height else (longer, int(longer * shape))


def _some(size: Grid) -> Grid:
    return max(size[0], 1), max(size[1], 1)


def _kept(height: int, width: int, whole: Grid) -> Grid:
    """Rows and columns of tokens that are of the picture, and not of what was put around it."""
    rows, columns = whole
    if width / height > columns / rows:
        return rows - (rows - int(round(height * (columns / width), 7))) // 2 * 2, columns
    return rows, columns - (columns - int(round(width * (rows / height), 7))) // 2 * 2


def _rounded(height: int, width: int, step: int, least: int, most: int) -> Grid:
    """Qwen's size: multiples of ``step`` near the picture's own, with ``least`` to ``most`` pixels."""
    rows, columns = round(height / step) * step, round(width / step) * step
    if rows * columns > most:
        shrink = math.sqrt(height * width / most)
        return max(step, math.floor(height / shrink / step) * step), max(step, math.floor(width / shrink / step) * step)
    if rows * columns < least:
        grow = math.sqrt(least / (height * width))
        return math.ceil(height * grow / step) * step, math.ceil(width * grow / step) * step
    return rows, columns
