"""Boxes that a model writes as text, against the right ones (LION, arXiv:2311.11860; MoME, arXiv:2407.12709)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from serval.data.boxes import parse_box
from serval.media.box import Box
from serval.refusal import Refusal


class ReferringScore(NamedTuple):
    """Means over questions; a text without a box counts as a box that shares nothing with the right one.

    Attributes:
        accuracy: share of boxes with an intersection over union of at least the threshold.
        overlap: mean intersection over union.
        unreadable: share of texts without a box.
    """

    accuracy: float
    overlap: float
    unreadable: float


def score_boxes(texts: Sequence[str], boxes: Sequence[Box], threshold: float = 0.5) -> ReferringScore:
    """
    Raises:
        ValueError: there are none, or not one text for each box.
    """
    if not boxes or len(texts) != len(boxes):
        raise ValueError(f"texts: {len(texts)}, expected one for each of {len(boxes)} boxes, and at least one")
    read = [first_box(text) for text in texts]
    overlaps = [0.0 if found is None else found.iou(box) for found, box in zip(read, boxes, strict=True)]
    count = len(boxes)
    return ReferringScore(sum(each >= threshold for each in overlaps) / count, sum(overlaps) / count, read.count(None) / count)


def first_box(text: str) -> Box | None:
    """The first thing in brackets, if it is a box in fractions of the picture."""
    found = re.search(r"\[[^\[\]]*\]", text)
    try:
        return parse_box(found[0]) if found else None
    except Refusal:
        return None
