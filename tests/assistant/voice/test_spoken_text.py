"""Numbers, money, times and signs are read out as words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.voice.spoken_text import cardinal, ordinal, spoken


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("3 people", "three people"),
        ("1,204 cups", "one thousand two hundred four cups"),
        ("12.5%", "twelve point five percent"),
        ("at 7:30, and 9:05 or 10:00.", "at seven thirty, and nine oh five or ten."),
        ("the 3rd, 12th and 21st", "the third, twelfth and twenty first"),
        ("in 1999, 2024 and 2001", "in nineteen ninety nine, twenty twenty four and two thousand one"),
        ("$5.50, $1 and £0.20", "five dollars and fifty cents, one dollar and twenty pence"),
        ("€3 million", "three million euros"),
        ("-4°", "minus four degrees"),
        ("30 fps, 2 m", "thirty frames per second, two meters"),
        ("007", "zero zero seven"),
        ("1" * 20, " ".join(["one"] * 20)),
        ("Dr. Smith & Mr. Jones", "doctor Smith and mister Jones"),
        ("cups, e.g. mugs", "cups, for example mugs"),
        ("nothing to read", "nothing to read"),
        ("", ""),
    ],
)
def test_signs_become_words(written, read):
    assert spoken(written) == read


def test_numbers_are_counted_in_words():
    assert cardinal(0) == "zero" and cardinal(80) == "eighty"
    assert cardinal(1_000_001) == "one million one"
    read = [ordinal(each) for each in (1, 2, 8, 9, 20, 100)]
    assert read == [*"first second eighth ninth twentieth".split(), "one hundredth"]


@given(st.text(max_size=80))
def test_whatever_is_written_can_be_read_out(text):
    read = spoken(text)
    assert not any(each in "0123456789$£€%&" for each in read) and "\n" not in read
