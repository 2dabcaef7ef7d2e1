"""What a watcher knows of a frame as tokens for a streaming model: the scene as a whole, and what is where.

A model that decides when to speak reads frames twice a second. All that it is shown is in the views that gates are shown, so
that a recording decides what the watch decided, and nothing is looked at for it that is not looked at already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serval.assistant.perception.followed import GROUPS
from serval.assistant.view import View
from serval.encoders.percept import Hand
from serval.media.box import Box

FPS: Final = 2.0
SCENE: Final = 1280  # width of Lite0's feature
_CELLS: Final = 3  # rows and columns of the grid
PLACES: Final = 1 + _CELLS * _CELLS
"""The whole frame, then the cells of its grid row by row."""
_HAND, TEXT, CHANGE, _NOVELTY = range(2 * len(GROUPS), 2 * len(GROUPS) + 4)
"""Where among the numbers of a place they stand. Text is to be left out where nobody asks for it: it may not be looked for."""
PLACE: Final = 2 * len(GROUPS) + 4
"""Width of a place: what is believed to be in it by group, what may be, a hand, new text, how much moved, how new it all is."""

CLIP: Final = 2 * PLACE
"""Width of a place in a clip of two frames: what is there, and by how much that differs from the frame before."""

Tokens = tuple[NDArray[np.float32], NDArray[np.float32]]
"""(`SCENE`,) and (`PLACES`, `PLACE`)."""

_WHOLE = Box(0.0, 0.0, 1.0, 1.0)
BOXES: Final = (
    _WHOLE,
    *(
        Box(column / _CELLS, row / _CELLS, (column + 1) / _CELLS, (row + 1) / _CELLS)
        for row in range(_CELLS)
        for column in range(_CELLS)
    ),
)
SPREAD: Final = 35.0
"""Length of a scene: its numbers are about 1."""
_MOVED = 16.0  # grey values of change in a cell that count as 1
_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Shown:
    """What is remembered between two frames that are read: of fixed size."""

    time: float = -inf  # of the last one that was read
    luma: NDArray[np.uint8] | None = None  # of that
    feature: NDArray[np.float32] | None = None  # of the last look
    hands: tuple[Hand, ...] = ()  # since then
    texts: tuple[Box, ...] = ()

    def seen(self, view: View) -> Shown:
        """With another view."""
        percept = view.percept
        texts = tuple(each.box or _WHOLE for each in view.changes if each.kind == "text")
        return replace(
            self,
            feature=self.feature if percept.feature is None else percept.feature,
            hands=percept.hands or self.hands,
            texts=(*self.texts, *texts)[-_CELLS * _CELLS :],
        )

    def due(self, view: View) -> bool:
        """Whether it is time to read a frame."""
        return view.time - self.time >= 1 / FPS - _STEP

    def read(self, view: View) -> tuple[Shown, Tokens]:
        """The tokens of a view that was `seen`, and what is remembered after it."""
        luma = view.percept.luma
        scene = np.zeros(SCENE, np.float32)
        if self.feature is not None:
            scene[:] = self.feature
            scene *= SPREAD / max(float(np.linalg.norm(scene)), 1e-6)
        return Shown(view.time, luma, self.feature), (scene, self._places(view))

    def _places(self, view: View) -> NDArray[np.float32]:
        places = np.zeros((PLACES, PLACE), np.float32)

        def put(box: Box, channel: int, score: float) -> None:
            for place, cell in enumerate(BOXES):
                covered = min(1.0, cell.intersection(box) / max(min(cell.area, box.area), 1e-6))
                places[place, channel] = max(places[place, channel], score * covered)

        for track in view.tracks:
            if track.label in GROUPS:  # a thing that somebody taught has another name
                put(track.box, GROUPS.index(track.label) + (0 if track.settled else len(GROUPS)), track.score)
        for hand in self.hands:
            put(hand.box, _HAND, hand.score)
        for box in self.texts:
            put(box, TEXT, 1.0)
        if self.luma is not None and self.luma.shape == view.percept.luma.shape:
            moved = np.abs(view.percept.luma.astype(np.float32) - self.luma)
            height, width = moved.shape
            for place, cell in enumerate(BOXES):
                left, top, right, bottom = cell.pixels(width, height)
                places[place, CHANGE] = min(float(moved[top:bottom, left:right].mean()) / _MOVED, 4.0)
        places[:, _NOVELTY] = view.scene.novelty
        return places
