"""Was it meant for Serval: its name, however it was written down, or a question soon after an answer."""

import numpy as np
import pytest

from serval.assistant.listening.activity import Utterance
from serval.assistant.listening.addressed import NamedJudge, called


def said(start, end=None):
    return Utterance(start, start + 1.0 if end is None else end, np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("words", "question"),
    [
        ("Serval, how many people were there?", "how many people were there?"),
        ("Hey, Serval, what happened?", "what happened?"),
        ("OK Cerval: what did the sign say?", "what did the sign say?"),
        ("Servil when did the dog leave", "when did the dog leave"),
        ("Sir Val, where was the taxi?", "where was the taxi?"),
        ("Serval.", ""),
    ],
)
def test_a_name_is_heard_however_it_is_written(words, question):
    assert called(words, "serval") == question


@pytest.mark.parametrize(
    "words",
    [
        *("I think we should go home now.", "Several people came in.", "Service is slow here.", "Survival is all.", "", "…"),
        *("What is a serval?", "Look, a serval!", "Hey, what happened?", "Certainly.", "Silver and gold."),
    ],
)
def test_other_words_are_not_its_name(words):
    assert called(words, "serval") is None


def test_noise_and_talk_are_not_for_it_and_a_name_alone_asks_nothing_yet():
    judge = NamedJudge()
    heard = ("", "We should go.", "What happened?", "Serval!", "We should go.", "What happened?")
    assert [judge.judge(words, said(0)).addressed for words in heard] == [False] * 5 + [True]


def test_soon_after_an_answer_a_question_needs_no_name():
    judge = NamedJudge(follow_up=6.0)
    assert judge.judge("Serval, what happened?", said(0, 2)).question == "what happened?"
    assert not judge.judge("That is odd.", said(4)).addressed
    assert judge.judge("Where was the taxi?", said(5, 6)).question == "Where was the taxi?"
    assert judge.judge("How many people were there?", said(11, 12)).addressed  # from the last answer on
    assert not judge.judge("How many people were there?", said(19)).addressed
    assert not NamedJudge(follow_up=0).judge("What happened?", said(0)).addressed
