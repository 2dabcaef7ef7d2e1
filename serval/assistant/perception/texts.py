"""Which text in the picture is new. What it says is data: it is compared and quoted, never obeyed."""

from __future__ import annotations

from collections import OrderedDict
from difflib import SequenceMatcher

from serval.assistant.view import Change, ChangeKind
from serval.encoders.percept import TextLine

FORGET = 30.0  # seconds after which text that comes again is new
_MOST = 200  # lines remembered
_ALIKE = 0.8  # two readings of the same line


class Texts:
    def __init__(self) -> None:
        self._known: OrderedDict[str, float] = OrderedDict()  # normalised line -> when it was last read

    def step(self, lines: tuple[TextLine, ...], now: float) -> list[Change]:
        """One reading; a change for every line that was not there before, and for one that can be read more fully now.

        The latter has ``before`` 1: a part of it was told.
        """
        for old in [text for text, seen in self._known.items() if now - seen > FORGET]:
            del self._known[old]
        changes = []
        for line in lines:
            text = normal(line.text)
            if not text:
                continue
            twin = next((known for known in self._known if alike(known, text)), None)
            fuller = (
                twin is not None and _letters(twin) != _letters(text) and _letters(twin) in _letters(text)
            )  # AXI, while it came in; then TAXI
            if twin is None or fuller:
                score, before = round(line.score, 4), int(fuller)
                change = Change(ChangeKind.TEXT, now, now, score=score, before=before, after=1, box=line.box, text=line.text)
                changes.append(change)
            if fuller:
                del self._known[twin or ""]
            name = text if fuller or twin is None else twin
            self._known[name] = now
            self._known.move_to_end(name)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return changes


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def normal(text: str) -> str:
    return " ".join(text.casefold().split())


def alike(a: str, b: str) -> bool:
    """Whether two lines are readings of the same text, a letter or so apart."""
    if len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) <= 1:
        return len(a) > 2 or a == b
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= _ALIKE
