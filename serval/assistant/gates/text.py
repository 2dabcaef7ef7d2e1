"""Text that was not there before, or the very words that were asked for."""

from __future__ import annotations

import re

from serval.assistant.gates.gate import Score
from serval.assistant.instructions.instruction import Understanding
from serval.assistant.view import ChangeKind, View

_WORD = re.compile(r"\w+")


class TextGate:
    """Stateless. What the text says is compared with the instruction's words, and nothing else is done with it."""

    name = "text"
    threshold = 0.5

    def __init__(self, understanding: Understanding) -> None:
        self._wanted = _WORD.findall(understanding.text.casefold())

    def start(self) -> None:
        return None

    def step(self, state: None, view: View) -> tuple[None, Score]:
        new = [change for change in view.changes if change.kind is ChangeKind.TEXT]
        because = tuple(change for change in new if contains(change.text, self._wanted) and (self._wanted or not change.before))
        if because:
            best = max(change.score for change in because)
            return None, Score(
                best, "new text: " + " / ".join(f"“{change.text}”" for change in because), because, momentary=True
            )
        if new:
            return None, Score(0.1, "new text, and not the words asked for")
        return None, Score(0.0, "no new text" if view.percept.text is not None else "text was not read here")


def contains(text: str, wanted: list[str]) -> bool:
    """Whether ``text`` holds all the wanted words; in one of four letters and more, one letter may be read wrong."""
    words = _WORD.findall(text.casefold())
    return all(any(_close(word, want) for word in words) or _spaced(words, want) for want in wanted)


def _spaced(words: list[str], want: str) -> bool:
    """Whether neighbouring pieces make up the word, as when it is set with wide letters: T A X I."""
    for first in range(len(words)):
        joined = ""
        for word in words[first:]:
            joined += word
            if joined == want:
                return True
            if len(joined) >= len(want):
                break
    return False


def _close(a: str, b: str) -> bool:
    if len(b) < 4:
        return a == b
    if len(a) != len(b):  # readers run words together: TAXIRANK
        return a.startswith(b) or a.endswith(b)
    return sum(x != y for x, y in zip(a, b, strict=True)) <= 1
