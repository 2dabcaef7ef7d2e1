"""How systems that answer questions about pictures are scored on `data.worlds.shapes`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from serval.data.worlds.shapes import COLOURS, SHAPES, ShapeItem
from serval.evaluation.referring import score_boxes
from serval.systems.experts.shape_questions import pieces, words


def score_answers(items: Sequence[ShapeItem], said: Sequence[Sequence[int]]) -> Mapping[str, float]:
    """Per cent by group, and their "mean", of ids that were said.

    "general": F1 of the things named. "rec": boxes that share half of their union with the right one. "document": glyphs right
    at their place, of as many as the longer line has. Others: the right word and nothing else.
    """
    scores = defaultdict(list)
    for item, ids in zip(items, said, strict=True):
        scores[item.group].append(100 * _score(item, words().decode(ids)))
    found = {group: statistics.fmean(each) for group, each in scores.items()}
    return found | {"mean": statistics.fmean(found.values())}


def _score(item: ShapeItem, text: str) -> float:
    right = pieces(item.answer)
    if item.group == "general":
        named, there = _things(text), _things(right)
        return 2 * len(named & there) / (len(named) + len(there))
    if item.group == "rec":
        assert item.box is not None
        return score_boxes([text], [item.box]).accuracy
    if item.group == "document":
        said, line = text.split(), right.split()
        return sum(one == other for one, other in zip(said, line, strict=False)) / max(len(said), len(line))
    return float(text == right)


def _things(text: str) -> set[tuple[str, str]]:
    return {(one, other) for one, other in pairwise(text.split()) if one in COLOURS and other in SHAPES}
