"""Was it meant for Serval? VITA asks its model, which says a state; without such a model, a name does.

Whoever has a model with state tokens gives another `Judge`: it gets the sound as well as the words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Protocol

from serval.assistant.ask.question import Asks, parse
from serval.assistant.listening.activity import Utterance

NAME = "serval"
_GREETING = r"(?:hey|hi|hello|ok|okay|please)"
_ALIKE = 0.75  # of letters: a recogniser writes an uncommon name in many ways
_OTHERS = {"several", "servant", "servants", "serial"}  # words that are as near to it


@dataclass(frozen=True)
class Verdict:
    """Whether an utterance is for the assistant (VITA's first state, or else its second), what it asks, and why."""

    addressed: bool
    question: str = ""
    why: str = ""


class Judge(Protocol):
    """Decides about each utterance in order."""

    def judge(self, words: str, said: Utterance) -> Verdict: ...


class NamedJudge:
    """It is for Serval if it begins with its name; or soon after that, if it is a question that Serval understands.

    Args:
        follow_up: seconds after it was called in which no name is needed. 0 for never.
    """

    def __init__(self, *, name: str = NAME, follow_up: float = 6.0) -> None:
        self._name, self._follow_up = name, follow_up
        self._answered = float("-inf")

    def judge(self, words: str, said: Utterance) -> Verdict:
        if not words:
            return Verdict(False, why="no words")
        question = called(words, self._name)
        if question is not None:
            self._answered = said.end  # also after a name alone: what is asked next is for it
            return Verdict(True, question, f"it begins with “{self._name}”") if question else Verdict(False, why="a name alone")
        if said.start - self._answered <= self._follow_up and parse(words).asks is not Asks.UNKNOWN:
            self._answered = said.end
            return Verdict(True, words, "it follows an answer, and is a question about what was seen")
        return Verdict(False, why=f"nobody said “{self._name}”")


def called(words: str, name: str) -> str | None:
    """What follows the name that ``words`` begin with; None where they begin with no word like it.

    "Hey Cerval, what happened?" is for "serval"; so is "Sir Val, …", which is two words of it.
    """
    found = re.match(rf"\W*(?:{_GREETING}\W+)?((?:[\w'’]+\W*){{1,2}})", words, re.IGNORECASE)
    if found is None:
        return None
    start = found.start(1)
    parts = list(re.finditer(r"[\w'’]+", found.group(1)))
    for count in (1, 2):
        heard = "".join(part.group() for part in parts[:count]).casefold()
        same = SequenceMatcher(None, heard, name).ratio()
        if len(parts) >= count and heard[:1] in {name[:1], "c"} and heard not in _OTHERS and same >= _ALIKE:
            return re.sub(r"^\W+", "", words[start + parts[count - 1].end() :])
    return None
