"""Boxes as data sets write them, each convention a type of its own; `serval.media.box.Box` is what they become.

Left and top are edges, not pixels: a box over a whole picture of 640 by 480 goes from 0, 0 to 640, 480.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from serval.media.box import Box
from serval.refusal import Refusal

_PLACES = 6  # decimals of a pixel that survive the way through fractions


class XYXY(NamedTuple):
    """Edges in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def fractions(self, width: float, height: float) -> Box:
        """Of a picture of ``width`` by ``height`` pixels. Nothing is clipped."""
        return Box(self.left / width, self.top / height, self.right / width, self.bottom / height)

    @classmethod
    def of(cls, box: Box, width: float, height: float) -> XYXY:
        """Pixels to a millionth, so coordinates with at most six decimals come back as they were (below 1e5)."""
        sides = (width, height, width, height)
        return cls(*(round(value * side, _PLACES) for value, side in zip(box, sides, strict=True)))

    def corner(self) -> XYWH:
        """Exact in decimals, so that 0.1 and 0.3 are 0.2 apart."""
        return XYWH(self.left, self.top, _less(self.right, self.left), _less(self.bottom, self.top))


class XYWH(NamedTuple):
    """Left and top edge, width and height in pixels, as COCO has them."""

    x: float
    y: float
    width: float
    height: float

    def edges(self) -> XYXY:
        """Exact in decimals; with `XYXY.corner` it is the same box again for numbers of at most fifteen digits."""
        return XYXY(self.x, self.y, _plus(self.x, self.width), _plus(self.y, self.height))

    def fractions(self, width: float, height: float) -> Box:
        """Of a picture of ``width`` by ``height`` pixels."""
        return self.edges().fractions(width, height)

    @classmethod
    def of(cls, box: Box, width: float, height: float) -> XYWH:
        """Pixels to a millionth, see `XYXY.of`."""
        return XYXY.of(box, width, height).corner()


class Thousandths(NamedTuple):
    """Edges in whole thousandths of the picture, 0 to 1000."""

    left: int
    top: int
    right: int
    bottom: int

    def fractions(self) -> Box:
        return Box(self.left / 1000, self.top / 1000, self.right / 1000, self.bottom / 1000)

    @classmethod
    def of(cls, box: Box) -> Thousandths:
        """Clipped to the picture and rounded to the nearest, halves up; thousandths come back as they were."""
        return cls(*(math.floor(Fraction(each) * 1000 + Fraction(1, 2)) for each in _clipped(box)))

    def text(self) -> str:
        """As in "[440,60,650,367]"."""
        return "[" + ",".join(map(str, self)) + "]"


def box_text(box: Box) -> str:
    """As LION (arXiv 2311.11860) and MoME (arXiv 2407.12709) have it: "[0.440,0.060,0.650,0.367]", clipped to the picture."""
    return "[" + ",".join(f"{each:.3f}" for each in _clipped(box)) + "]"


def parse_box(text: str) -> Box:
    """Read `box_text`, with any number of decimals and spaces behind commas.

    Raises:
        Refusal: it is something else, leaves the picture, or goes from right to left.
    """
    return Box(*map(float, _numbers(text, _FRACTIONS, 1)))


def parse_thousandths(text: str) -> Thousandths:
    """Read `Thousandths.text`.

    Raises:
        Refusal: as `parse_box`.
    """
    return Thousandths(*map(int, _numbers(text, _THOUSANDTHS, 1000)))


def _numbers(text: str, form: re.Pattern[str], most: int) -> tuple[str, ...]:
    found = form.fullmatch(text.strip())
    if found is None:
        raise Refusal("box", f"{text[:40]!r} is not four numbers from 0 to {most}", "write [left,top,right,bottom]")
    left, top, right, bottom = map(float, found.groups())
    if max(left, top, right, bottom) > most:
        raise Refusal("box", f"{text[:40]!r} leaves the picture", f"give numbers from 0 to {most}")
    if left > right or top > bottom:
        raise Refusal("box", f"{text[:40]!r} has no inside", "write [left,top,right,bottom]")
    return found.groups()


_FRACTIONS = re.compile(r"\[([0-9]+\.?[0-9]*), ?([0-9]+\.?[0-9]*), ?([0-9]+\.?[0-9]*), ?([0-9]+\.?[0-9]*)\]", re.ASCII)
_THOUSANDTHS = re.compile(r"\[([0-9]{1,4}), ?([0-9]{1,4}), ?([0-9]{1,4}), ?([0-9]{1,4})\]", re.ASCII)


def _clipped(box: Box) -> tuple[float, ...]:
    return tuple(min(1.0, max(0.0, each)) for each in box)


def _plus(left: float, right: float) -> float:
    return float(Decimal(repr(float(left))) + Decimal(repr(float(right))))


def _less(left: float, right: float) -> float:
    return float(Decimal(repr(float(left))) - Decimal(repr(float(right))))
