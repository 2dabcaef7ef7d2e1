"""Scenes of shapes above a strip of glyphs: pictures of which everything is known, and what may be asked about them.

For the smallest checks of LION (arXiv:2311.11860) and MoME (arXiv:2407.12709): groups of instructions that need different
things of a picture, or contradict each other; tags of which some are wrong; three views that each keep one thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.data.boxes import box_text, parse_box
from serval.media.box import Box

SHAPES = ("circle", "cross", "diamond", "ring", "square", "triangle")
COLOURS = {
    "blue": (50, 80, 230),
    "green": (40, 170, 60),
    "orange": (245, 150, 30),
    "purple": (150, 50, 180),
    "red": (220, 40, 40),
    "yellow": (240, 225, 60),
}
GROUPS = ("general", "rec", "reg", "document")
GLYPHS = {  # five rows of three pixels
    letter: tuple(map(int, rows))
    for letter, rows in zip(
        "ACEFHLOPTUXZ",
        "25755 74447 74747 74744 55755 44447 75557 75744 72222 55557 55255 71247".split(),
        strict=True,
    )
}

GRID, CELL = 4, 12  # cells each way of the part with shapes, pixels of a cell
GLYPH = 6  # pixels of a glyph's cell: one patch of a tower with patches of six
LINES = 2
WIDTH, HEIGHT = GRID * CELL, GRID * CELL + LINES * GLYPH  # pixels
_WORLD, _PAPER = 11, (128, 128, 128)


@dataclass(frozen=True)
class Thing:
    """A shape in the cell ``row``, ``column``, ``size`` pixels each way."""

    shape: str
    colour: str
    row: int
    column: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top pixel."""
        inset = (CELL - self.size) // 2
        return self.column * CELL + inset, self.row * CELL + inset

    @property
    def box(self) -> Box:
        left, top = self.corner
        return Box(left / WIDTH, top / HEIGHT, (left + self.size) / WIDTH, (top + self.size) / HEIGHT)


@dataclass(frozen=True)
class ShapeScene:
    """Things, no two of one shape, and one or two lines of as many glyphs each.

    Attributes:
        seed: of its noise.
    """

    things: tuple[Thing, ...]
    lines: tuple[str, ...]
    seed: tuple[int, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """What a recogniser that makes no mistakes sees, in the order of the alphabet."""
        return tuple(sorted(thing.name for thing in self.things))

    def thing(self, shape: str) -> Thing:
        return next(thing for thing in self.things if thing.shape == shape)

    def picture(self, noise: float = 4.0) -> NDArray[np.uint8]:
        """(60, 48, 3) RGB. ``noise`` is a standard deviation, of 255."""
        canvas = np.empty((HEIGHT, WIDTH, 3), np.float32)
        canvas[:] = _PAPER
        for thing in self.things:
            left, top = thing.corner
            canvas[top : top + thing.size, left : left + thing.size][_outline(thing.shape, thing.size)] = COLOURS[thing.colour]
        canvas[GRID * CELL :] = 255
        for row, line in enumerate(self.lines):
            for column, letter in enumerate(line):
                top, left = GRID * CELL + row * GLYPH, column * GLYPH + 1
                bits = np.array([[bits >> shift & 1 for shift in (2, 1, 0)] for bits in GLYPHS[letter]], bool)
                canvas[top : top + 5, left : left + 3][bits] = 0
        grain = np.random.default_rng((*self.seed, 1)).normal(0, 1, canvas.shape) * noise
        return np.clip(canvas + grain, 0, 255).astype(np.uint8)

    def views(self, noise: float = 0.1) -> dict[str, NDArray[np.float32]]:
        """The picture as three towers would have it that each keep one thing (MoME's check).

        Returns:
            "what" (4, 4, 12): colour and shape of each thing, in cells that say nothing of where it is;
            "where" (8, 8, 8): shape, row and column wherever a thing covers half a cell, whatever its colour;
            "glyphs" (lines, letters, 14): letter, row and column, on a grid that is never square.
        """
        rng = np.random.default_rng((*self.seed, 2))
        what = np.zeros((GRID, GRID, len(COLOURS) + len(SHAPES)), np.float32)
        where = np.zeros((2 * GRID, 2 * GRID, len(SHAPES) + 2), np.float32)
        glyphs = np.zeros((len(self.lines), len(self.lines[0]), len(GLYPHS) + 2), np.float32)
        cells = rng.permutation(GRID * GRID)
        for cell, thing in zip(cells, sorted(self.things, key=lambda thing: thing.shape), strict=False):
            code = what[cell // GRID, cell % GRID]
            code[list(COLOURS).index(thing.colour)] = code[len(COLOURS) + SHAPES.index(thing.shape)] = 1
            for row in (2 * thing.row, 2 * thing.row + 1):
                for column in (2 * thing.column, 2 * thing.column + 1):
                    where[row, column, SHAPES.index(thing.shape)] = 1
                    where[row, column, -2:] = (row + 0.5) / (2 * GRID), (column + 0.5) / (2 * GRID)
        for row, line in enumerate(self.lines):
            for column, letter in enumerate(line):
                glyphs[row, column, list(GLYPHS).index(letter)] = 1
                glyphs[row, column, -2:] = (row + 0.5) / len(self.lines), (column + 0.5) / len(line)
        made = {"what": what, "where": where, "glyphs": glyphs}
        for view in made.values():
            view += rng.standard_normal(view.shape, np.float32) * noise
        return made


@dataclass(frozen=True)
class ShapeItem:
    """A scene, what is asked about it, and the answer. ``box`` is where the answer to "rec" is, or what "reg" asks about."""

    scene: ShapeScene
    group: str
    instruction: str
    answer: str
    box: Box | None = None


def make(seed: int, scenes: int, groups: Sequence[str] = GROUPS, things: tuple[int, int] = (2, 4)) -> list[ShapeItem]:
    """Each of ``scenes`` scenes, asked about once in each of ``groups``.

    "general" asks what there is, "rec" where a thing is, "reg" which shape is in a box, "document" what a line reads.

    Args:
        things: at least and at most so many in a scene, up to 6.
    """
    made = []
    for index in range(scenes):
        rng = np.random.default_rng((_WORLD, seed, index))
        scene = _scene(rng, things, (_WORLD, seed, index))
        made += [_ask(rng, scene, group) for group in groups]
    return made


def make_contradictory(seed: int, scenes: int, codes: int = 3) -> list[ShapeItem]:
    """Each of ``scenes`` scenes ``codes`` times: the same picture, and an answer that differs with the instruction alone.

    "In code k, which shape is it?", of a scene with a single thing, is to be answered with the shape k places further round in
    `SHAPES`. Who does not read the instruction is right once in ``codes`` times at the best.
    """
    made = []
    for index in range(scenes):
        rng = np.random.default_rng((_WORLD, seed, index, 1))
        scene = _scene(rng, (1, 1), (_WORLD, seed, index, 1))
        place = SHAPES.index(scene.things[0].shape)
        for code in range(codes):
            answer = SHAPES[(place + code) % len(SHAPES)]
            made.append(ShapeItem(scene, f"code {code}", f"In code {code}, which shape is it?", answer))
    return made


def corrupt_tags(scene: ShapeScene, share: float) -> tuple[str, ...]:
    """The scene's tags, each replaced with probability ``share`` by one of a thing that is not there.

    What is wrong at a share is wrong at every larger one too, and in the same way.
    """
    rng = np.random.default_rng((*scene.seed, 3))
    wrong = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES if f"{colour} {shape}" not in scene.tags]
    draws, others = rng.random(len(scene.tags)), rng.permutation(wrong)
    return tuple(str(other) if draw < share else tag for tag, draw, other in zip(scene.tags, draws, others, strict=False))


def oracle(item: ShapeItem) -> str:
    """The answer, from the instruction and what is in the scene."""
    scene, words = item.scene, item.instruction.rstrip("?.").split()
    if item.group == "general":
        return ", ".join(scene.tags)
    if item.group == "rec":
        return box_text(next(thing.box for thing in scene.things if thing.name == " ".join(words[-2:])))
    if item.group == "reg":
        asked = parse_box(words[-1])
        return max(scene.things, key=lambda thing: thing.box.iou(asked)).shape
    if item.group == "document":
        return scene.lines[int(words[-1]) - 1]
    return SHAPES[(SHAPES.index(scene.things[0].shape) + int(words[2].rstrip(","))) % len(SHAPES)]


def _scene(rng: np.random.Generator, things: tuple[int, int], seed: tuple[int, ...]) -> ShapeScene:
    count = int(rng.integers(things[0], things[1] + 1))
    shapes, cells = rng.permutation(SHAPES)[:count], rng.permutation(GRID * GRID)[:count]
    colours, sizes = rng.choice(list(COLOURS), count), rng.choice((8, 10, 12), count)
    made = tuple(
        Thing(str(shape), str(colour), int(cell) // GRID, int(cell) % GRID, int(size))
        for shape, colour, cell, size in zip(shapes, colours, cells, sizes, strict=True)
    )
    rows, columns = int(rng.integers(1, LINES + 1)), int(rng.integers(3, WIDTH // GLYPH + 1))
    return ShapeScene(made, tuple("".join(rng.choice(list(GLYPHS), columns)) for _ in range(rows)), seed)


def _ask(rng: np.random.Generator, scene: ShapeScene, group: str) -> ShapeItem:
    thing = scene.things[int(rng.integers(len(scene.things)))]
    if group == "general":
        return ShapeItem(scene, group, "Which shapes are there?", ", ".join(scene.tags))
    if group == "rec":
        return ShapeItem(scene, group, f"Where is the {thing.name}?", box_text(thing.box), thing.box)
    if group == "reg":
        return ShapeItem(scene, group, f"Which shape is in {box_text(thing.box)}?", thing.shape, thing.box)
    if group == "document":
        line = int(rng.integers(len(scene.lines)))
        return ShapeItem(scene, group, f"What is in line {line + 1}?", scene.lines[line])
    raise ValueError(f"group: {group!r}, expected one of {GROUPS}")


def _outline(shape: str, size: int) -> NDArray[np.bool_]:
    """(size, size): which pixels belong to it; it touches all four sides."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    radius = size / 2
    if shape == "square":
        return np.ones((size, size), bool)
    if shape == "diamond":
        return np.abs(x) + np.abs(y) <= radius
    if shape == "cross":
        return np.minimum(np.abs(x), np.abs(y)) <= size / 6
    if shape == "triangle":
        return np.abs(x) <= (y + radius) / 2 + 0.25
    distance = np.hypot(x, y)
    return (distance <= radius) & ((shape == "circle") | (distance >= radius - 2))
