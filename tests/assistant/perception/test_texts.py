"""Text in the picture: what is new, what is the same line read again, and how long that is known."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.perception.texts import FORGET, Texts, alike
from serval.encoders.percept import TextLine
from serval.media.box import Box

BOX = Box(0.1, 0.1, 0.4, 0.2)


def line(text, score=0.9):
    return TextLine(text, score, BOX)


def read(texts, now, *words):
    return [change.text for change in texts.step(tuple(line(word) for word in words), now)]


def test_a_line_is_new_once():
    texts = Texts()
    assert read(texts, 0.0, "TAXI") == ["TAXI"]
    assert read(texts, 1.0, "TAXI") == []


def test_the_change_quotes_what_was_read():
    [change] = Texts().step((line("Mind  the GAP", 0.8123456),), 3.0)
    assert (change.kind, change.text, change.time, change.box) == ("text", "Mind  the GAP", 3.0, BOX)
    assert change.score == pytest.approx(0.8123)


@pytest.mark.parametrize("again", ["taxi", "TAX1", "TAXl", " TAXI ", "TAXI."])
def test_two_readings_of_one_line_are_one(again):
    texts = Texts()
    read(texts, 0.0, "TAXI")
    assert read(texts, 1.0, again) == []


@pytest.mark.parametrize("other", ["EXIT", "OPEN", "MARKET HALL", "7"])
def test_another_line_is_new(other):
    texts = Texts()
    read(texts, 0.0, "TAXI")
    assert read(texts, 1.0, other) == [other]


def test_several_lines_at_once():
    texts = Texts()
    assert read(texts, 0.0, "TAXI", "MARKET", "taxi") == ["TAXI", "MARKET"]
    assert read(texts, 1.0, "MARKET", "HOTEL") == ["HOTEL"]


def test_forgets_after_half_a_minute_without_it():
    texts = Texts()
    read(texts, 0.0, "TAXI")
    assert read(texts, FORGET, "TAXI") == []
    assert read(texts, 2 * FORGET + 0.1, "TAXI") == ["TAXI"]


def test_what_stays_legible_is_never_new_again():
    texts = Texts()
    assert [read(texts, 10.0 * n, "TAXI") for n in range(30)] == [["TAXI"]] + [[]] * 29


def test_blank_lines_are_nothing():
    assert read(Texts(), 0.0, "", "   ", "\n") == []


def test_remembers_no_more_than_it_can():
    texts = Texts()
    for number in range(300):
        word = hashlib.sha256(bytes([number % 256, number // 256])).hexdigest()[:16]
        assert read(texts, number * 0.001, word) == [word]
        assert len(texts._known) == min(number + 1, 200)


@given(st.text(max_size=40), st.text(max_size=40))
def test_alike_is_reflexive_and_bounded_by_equality(a, b):
    assert alike(a, a)
    if a and b and not set(a) & set(b):
        assert not alike(a, b)
