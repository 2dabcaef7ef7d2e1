"""`data.worlds.shapes` as questions about pictures: words as ids, the views as three frozen towers would see them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from serval.data.boxes import box_text
from serval.data.worlds.shapes import CELL, COLOURS, GLYPHS, GRID, SHAPES, ShapeItem, ShapeScene, Thing
from serval.data.worlds.vocabulary import Vocabulary
from serval.systems.experts.picture_question import PictureQuestion

END, HINT = 0, 1  # ids that `Vocabulary` leaves free
VIEWS = ("what", "where", "glyphs")
WIDTH = 32  # of what each tower sees
GUIDE = 64  # of an instruction's embedding
_PIECE = re.compile(r"\[[\d.,]+\]|[A-Z]?[a-z]+|[A-Z]|\d+")


def pieces(text: str) -> str:
    """What is one id, with a space before the next: a word, a whole box, a single glyph; signs are left out.

    A box of one id, and two layers find out what a question is about; of many, a tiny decoder takes ten times as long.
    """
    return " ".join(_PIECE.findall(text))


@cache
def words() -> Vocabulary:
    """All that is asked and answered."""
    asked = "Which shapes are there? Where is the ? Which shape is in ? What is in line 1 2 ? In code 0 1 2, which shape is it?"
    hint = "According to , you are allowed to use or partially use the following tags: ."
    places = [
        box_text(Thing(SHAPES[0], "red", row, column, size).box)
        for row in range(GRID)
        for column in range(GRID)
        for size in range(8, CELL + 1, 2)
    ]
    return Vocabulary(map(pieces, [asked, hint, *SHAPES, *COLOURS, *GLYPHS, *places]))


@cache
def bag_of_words(text: str, width: int = GUIDE) -> Tensor:
    """(width,), of length 1: a sentence embedding that needs no weights. Every word has a direction of its own.

    In its place in a real model stands Sentence-BERT: `serval.encoders.minilm.MiniLM`.
    """
    total = np.zeros(width)
    for word in pieces(text).lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(width)
    return torch.from_numpy(total / max(np.linalg.norm(total), 1e-9)).float()


def from_views(item: ShapeItem, views: Sequence[str] = VIEWS) -> PictureQuestion:
    """As MoME reads it: the map of each view, (rows, columns, `WIDTH`), and an instruction's embedding."""
    seen = _seen(item.scene)
    return PictureQuestion(
        seen=tuple(seen[view] for view in views),
        question=tuple(words().encode(pieces(item.instruction))),
        answer=(*words().encode(pieces(item.answer)), END),
        told={"instruction": bag_of_words(item.instruction)},
    )


@lru_cache(maxsize=1)  # questions about a scene follow one another
def _seen(scene: ShapeScene) -> dict[str, Tensor]:
    """(rows, columns, `WIDTH`) of each view."""
    return {view: torch.from_numpy(made) @ _tower(view, made.shape[-1]) for view, made in scene.views().items()}


@cache
def _tower(view: str, channels: int) -> Tensor:
    """(channels, `WIDTH`): a frozen tower, whose features say what the view says, in directions of their own."""
    drawn = np.random.default_rng([VIEWS.index(view), 23]).standard_normal((WIDTH, channels))
    return torch.from_numpy(np.linalg.qr(drawn)[0].T.copy() * channels**0.5).float()
