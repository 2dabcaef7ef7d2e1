"""Words of a small world as token ids, so that a tiny model needs no tokenizer of a large one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RESERVED = 8  # ids that stay free for what parts frames and turns


class Vocabulary:
    """Every word that ``texts`` hold, numbered from `RESERVED` in alphabetical order.

    Attributes:
        size: of ids, with those that are reserved.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.words = sorted({word for text in texts for word in text.split()})
        self._ids = {word: RESERVED + number for number, word in enumerate(self.words)}
        self.size = RESERVED + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Ids of the words between spaces. Raises ``KeyError`` for one that is not known."""
        return [self._ids[word] for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """The words; what is reserved is left out."""
        return " ".join(self.words[id_ - RESERVED] for id_ in ids if RESERVED <= id_ < self.size)
