"""Articles, numbers, lists, times and places as a person would say them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.answers.words import ZONES, amount, article, counted, join, place, plain, plural, quadrant
from serval.media.box import Box


@pytest.mark.parametrize(
    ("noun", "said"),
    [
        ("person", "a person"), ("umbrella", "an umbrella"), ("unicycle", "a unicycle"), ("hourglass", "an hourglass"),
        ("apple", "an apple"), ("scissors", "a pair of scissors"), ("broccoli", "some broccoli"), ("oven", "an oven"),
    ],
)  # fmt: skip
def test_article(noun, said):
    assert article(noun) == said


@pytest.mark.parametrize(
    ("count", "noun", "exact", "spoken"),
    [
        (0, "person", "no people", "no people"),
        (1, "person", "one person", "a person"),
        (2, "person", "two people", "two people"),
        (4, "bus", "four buses", "four buses"),
        (5, "knife", "five knives", "several knives"),
        (12, "wine glass", "twelve wine glasses", "many wine glasses"),
        (13, "sheep", "13 sheep", "many sheep"),
        (2, "scissors", "two pairs of scissors", "two pairs of scissors"),
        (3, "broccoli", "some broccoli", "some broccoli"),
    ],
)
def test_counts(count, noun, exact, spoken):
    assert counted(count, noun) == exact
    assert amount(count, noun) == spoken


def test_join():
    assert [join(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_plain_names_and_plurals():
    assert plain("dining table") == "table" and plain("person") == "person"
    assert plural("person") == "people"


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((0, 0, 0.2, 0.2), "at the top left"),
        ((0.4, 0.4, 0.6, 0.6), "in the middle"),
        ((0.8, 0.2, 1, 0.8), "on the right"),
        ((0.4, 0.9, 0.6, 1), "at the bottom"),
        ((0, 0, 1, 1), "in the middle"),
    ],
)
def test_place(box, where):
    assert place(Box(*box)) == where


@given(st.floats(0, 1), st.floats(0, 1))
def test_mirrored_boxes_lie_in_mirrored_places(x, y):
    here, there = place(Box(x, y, x, y)), place(Box(1 - x, y, 1 - x, y))
    swapped = here.replace("left", "*").replace("right", "left").replace("*", "right")
    assert there == swapped
    assert quadrant(Box(x, y, x, y)) in {zone for row in ZONES for zone in row}
