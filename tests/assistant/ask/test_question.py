"""Questions in people's words, taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.ask.question import Asks, parse

TABLE = [
    ("What was next to the taxi?", Asks.NEAR, "taxi", ""),
    ("what's to the left of the car", Asks.NEAR, "car", ""),
    ("what was on the table?", Asks.NEAR, "table", ""),
    ("When did the man come in?", Asks.WHEN, "man", "appears"),
    ("At what time did the dog leave?", Asks.WHEN, "dog", "leaves"),
    ("When was the taxi sign visible?", Asks.WHEN, "taxi sign", "appears"),
    ("When did someone last leave?", Asks.WHEN, "", "leaves"),
    ("how many people were there at 0:05?", Asks.HOW_MANY, "people", ""),
    ("how many cars did you see?", Asks.HOW_MANY, "cars", ""),
    ("how many times did a person appear?", Asks.HOW_MANY, "person", "appears"),
    ("Was there a dog?", Asks.WHETHER, "dog", ""),
    ("did anyone leave after 12 s?", Asks.WHETHER, "", "leaves"),
    ("Is there a cyclist?", Asks.WHETHER, "cyclist", ""),
    ("where was the bicycle?", Asks.WHERE, "bicycle", ""),
    ("what did the sign say?", Asks.TEXT, "sign", ""),
    ("what happened between 0:02 and 0:05?", Asks.HAPPENED, "", ""),
    ("Did I miss anything?", Asks.HAPPENED, "", ""),
    ("who came in?", Asks.HAPPENED, "person", "appears"),
    ("what was taken?", Asks.HAPPENED, "", "taken"),
    ("what did you say at 0:03?", Asks.SAID, "", ""),
    ("sing me a song", Asks.UNKNOWN, "", ""),
]


@pytest.mark.parametrize(("text", "asks", "subject", "action"), TABLE)
def test_table(text, asks, subject, action):
    question = parse(text)
    assert (question.asks, question.subject, question.action) == (asks, subject, action)


@pytest.mark.parametrize(
    ("text", "after", "before", "at"),
    [
        ("what happened after 1:02:03?", 3723.0, None, None),
        ("what happened before 2.5 s?", None, 2.5, None),
        ("what happened between 0:02 and 3 minutes?", 2.0, 180.0, None),
        ("what happened between 4 and 6 s?", 4.0, 6.0, None),
        ("who came in from 1 to 2 minutes?", 60.0, 120.0, None),
        ("how many people were there at 00:07.5?", None, None, 7.5),
        ("what happened?", None, None, None),
    ],
)
def test_times(text, after, before, at):
    question = parse(text)
    assert (question.after, question.before, question.at) == (after, before, at)


@given(st.text(max_size=200))
def test_parsing_is_total_and_keeps_the_text(text):
    assert parse(text).text == text.strip()
