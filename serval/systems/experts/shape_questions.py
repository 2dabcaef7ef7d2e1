"""`data.worlds.shapes` as questions about pictures: words as ids, the views as three frozen towers would see them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from serval.connectors.soft_prompt import tag_hint
from serval.data.boxes import box_text, parse_box
from serval.data.worlds.shapes import CELL, COLOURS, GLYPHS, GRID, SHAPES, ShapeItem, ShapeScene, Thing
from serval.data.worlds.vocabulary import Vocabulary
from serval.encoders.picture_input import Picture
from serval.systems.experts.picture_question import PictureQuestion

END, HINT = 0, 1  # ids that `Vocabulary` leaves free
VIEWS = ("what", "where", "glyphs")
WIDTH = 32  # of what each tower sees
GUIDE = 64  # of an instruction's embedding
_PIECE = re.compile(r"\[[\d.,]+\]|[A-Z]?[a-z]+|[A-Z]|\d+")


def pieces(text: str) -> str:
    """What is one id, with a space before the next: a word, a single glyph, a place; signs are left out.

    A place is a box in the middle of a cell. Each box in ``text`` becomes the nearest, with which it shares half of their union
    and more: so "where" is answered in one word, which a tiny decoder learns in a tenth of the time.
    """
    return " ".join(_nearest(each) if each[0] == "[" else each for each in _PIECE.findall(text))


@cache
def _nearest(text: str) -> str:
    box = parse_box(text)
    return max(_places(), key=lambda place: parse_box(place).iou(box))


@cache
def _places() -> tuple[str, ...]:
    """Boxes of things of the middle size, in every cell."""
    return tuple(box_text(Thing("square", "red", row, column, CELL - 2).box) for row in range(GRID) for column in range(GRID))


@cache
def words() -> Vocabulary:
    """All that is asked and answered."""
    asked = "Which shapes are there? Where is the ? Which shape is in ? What is in line 1 2 ? In code 0 1 2, which shape is it?"
    hint = "According to , you are allowed to use or partially use the following tags: ."
    return Vocabulary(map(pieces, [asked, hint, *SHAPES, *COLOURS, *GLYPHS, *_places()]))


@cache
def bag_of_words(text: str, width: int = GUIDE) -> Tensor:
    """(width,), of length √width: a sentence embedding that needs no weights. Every word has a direction of its own.

    In its place in a real model stands Sentence-BERT (`serval.encoders.minilm.MiniLM`), whose vectors are of length 1: routers
    learn slowly from numbers so small.
    """
    total = np.zeros(width)
    for word in pieces(text).lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(width)
    return torch.from_numpy(total * (width**0.5 / max(np.linalg.norm(total), 1e-9))).float()


def from_views(item: ShapeItem, views: Sequence[str] = VIEWS) -> PictureQuestion:
    """As MoME reads it: the map of each view, (rows, columns, `WIDTH`), and an instruction's embedding."""
    seen = _seen(item.scene)
    return PictureQuestion(
        seen=tuple(seen[view] for view in views),
        question=tuple(words().encode(pieces(item.instruction))),
        answer=(*words().encode(pieces(item.answer)), END),
        told={"instruction": bag_of_words(item.instruction)},
    )


def from_pictures(
    items: Sequence[ShapeItem],
    prepare: Callable[[Sequence[Picture]], Sequence[tuple[Tensor, ...]]],
    tags: Sequence[Sequence[str]] | None = None,
    hint: bool = True,
) -> list[PictureQuestion]:
    """As LION reads them: the tokens of each depth of its tower, and the task.

    Args:
        prepare: `Lion.prepare`.
        tags: of each item, to stand before its question.
        hint: whether the sentence with the tags has the learned vector in it.
    """
    scenes = list(dict.fromkeys(item.scene for item in items))
    seen = dict(zip(scenes, prepare([scene.picture() for scene in scenes]), strict=True))
    return [
        PictureQuestion(
            seen=seen[item.scene],
            question=tuple(words().encode(pieces(item.instruction))),
            answer=(*words().encode(pieces(item.answer)), END),
            hint=() if tags is None else _tag_ids(tags[number], hint),
            told={"task": torch.tensor([int(item.group == "general")])},
        )
        for number, item in enumerate(items)
    ]


def _tag_ids(tags: Sequence[str], hint: bool) -> tuple[int, ...]:
    ids = tag_hint(tags, lambda text, before: words().encode(pieces(text)), HINT)
    return tuple(each for each in ids if hint or each != HINT)


@lru_cache(maxsize=1)  # questions about a scene follow one another
def _seen(scene: ShapeScene) -> dict[str, Tensor]:
    """(rows, columns, `WIDTH`) of each view, by frozen towers: what a view says, in directions of their own.

    Places are waves, as in towers' own embeddings of positions: two numbers would tell neighbours hardly apart.
    """
    made = {view: torch.from_numpy(found) for view, found in scene.views(noise=0.03).items()}
    for view in ("where", "glyphs"):
        what, places = made[view][..., :-2], made[view][..., -2:]
        waves = torch.cos(torch.pi * places[..., None] * torch.arange(1, 5)).flatten(-2)
        made[view] = torch.cat([what, waves], dim=-1)
    return {view: found @ _tower(view, found.shape[-1]) for view, found in made.items()}


@cache
def _tower(view: str, channels: int) -> Tensor:
    """(channels, `WIDTH`), at right angles."""
    drawn = np.random.default_rng([VIEWS.index(view), 23]).standard_normal((WIDTH, channels))
    return torch.from_numpy(np.linalg.qr(drawn)[0].T.copy() * channels**0.5).float()
