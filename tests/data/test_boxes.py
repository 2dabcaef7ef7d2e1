"""Conventions of boxes: exact both ways, and never taken for each other."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.data.boxes import XYWH, XYXY, Thousandths, box_text, parse_box, parse_thousandths
from serval.media.box import Box
from serval.refusal import Refusal

from .strategies import boxes

SIDES = st.integers(1, 16_384)


def decimals(most: float) -> st.SearchStrategy[float]:
    return st.integers(0, int(most * 10**6)).map(lambda each: float(Decimal(each) / 10**6))


@st.composite
def corners(draw):
    width, height = draw(SIDES), draw(SIDES)
    x, y = draw(decimals(width)), draw(decimals(height))
    w, h = (float(Decimal(repr(each))) for each in (draw(decimals(width)), draw(decimals(height))))
    return XYWH(x, y, w, h), width, height


@given(corners())
def test_pixels_with_six_decimals_come_back_from_fractions(drawn):
    corner, width, height = drawn
    assert corner.edges().corner() == corner
    assert XYWH.of(corner.fractions(width, height), width, height) == corner
    assert XYXY.of(corner.edges().fractions(width, height), width, height) == corner.edges()


def test_sums_are_exact_in_decimals():
    assert XYWH(0.1, 0.7, 0.2, 0.1).edges() == XYXY(0.1, 0.7, 0.3, 0.8)
    assert XYXY(0.1, 0.7, 0.3, 0.8).corner() == XYWH(0.1, 0.7, 0.2, 0.1)
    assert XYWH(10, 20, 30, 40).edges() == (10, 20, 40, 60)


def test_a_whole_picture_is_one_in_every_convention():
    assert XYWH(0, 0, 640, 480).fractions(640, 480) == Box(0, 0, 1, 1) == Thousandths(0, 0, 1000, 1000).fractions()
    assert XYXY.of(Box(0.25, 0.5, 0.75, 1), 640, 480) == (160, 240, 480, 480)


@given(st.tuples(*[st.integers(0, 1000)] * 4))
def test_thousandths_come_back(four):
    grid = Thousandths(*four)
    assert Thousandths.of(grid.fractions()) == grid
    left, top, right, bottom = sorted(four[:2]) + sorted(four[2:])
    ordered = Thousandths(left, right, top, bottom) if left <= top and right <= bottom else Thousandths(0, 0, *four[2:])
    assert parse_thousandths(ordered.text()) == ordered
    assert parse_box(box_text(ordered.fractions())) == ordered.fractions()


@given(boxes())
def test_thousandths_are_the_nearest(box):
    for fraction, grid in zip(box, Thousandths.of(box), strict=True):
        assert abs(fraction * 1000 - grid) <= 0.5 + 1e-9
    assert Thousandths.of(Box(-0.2, 0.0005, 0.9995, 1.3)) == (0, 1, 1000, 1000)  # halves go up, and nothing leaves the picture


def test_text_is_as_lion_writes_it():
    assert box_text(Box(0.44, 0.06, 0.65, 0.3671)) == "[0.440,0.060,0.650,0.367]"
    assert box_text(Box(-1e-9, 0, 1.2, 1)) == "[0.000,0.000,1.000,1.000]"
    assert parse_box(" [0.440, 0.060, 0.650, 0.367] ") == Box(0.44, 0.06, 0.65, 0.367)
    assert Thousandths(440, 60, 650, 367).text() == "[440,60,650,367]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.1,0.2,0.3,0.4",
        "[0.1,0.2,0.3]",
        "[a,0,0,0]",
        "[0.5,0,0.1,1]",
        "[0,0,1,1.5]",
        "[-0.1,0,1,1]",
        "[٠,0,1,1]",
        "[1e-3,0,1,1]",
    ],
)
def test_other_texts_are_no_box(text):
    with pytest.raises(Refusal, match="box: "):
        parse_box(text)
    with pytest.raises(Refusal, match="box: "):
        parse_thousandths(text if text != "[0,0,1,1.5]" else "[0,0,1,1001]")
