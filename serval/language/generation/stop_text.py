"""Text up to whichever of some stop texts is complete first, given on as soon as it is certain not to be one of them."""

from __future__ import annotations

from collections.abc import Sequence

from serval.conversation.tokenizer import Tokenizer


class StopText:
    """Takes text piece by piece. Once `stopped`, nothing more is given on."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def add(self, piece: str) -> str:
        """What may be said now: never a stop text, nor the beginning of one that may yet follow."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:  # of those that end together, the longest
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> str:
        """What was held back and is no stop text after all, since nothing more comes."""
        text, self._held = self._held, ""
        return text


class ReplyText:
    """The text of tokens as they come, whole characters only, and cut at stop texts wherever tokens divide them."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self._words, self._until = tokenizer.stream(), StopText(stops)

    @property
    def stopped(self) -> bool:
        return self._until.stopped

    def add(self, token: int) -> str:
        """What may be said now."""
        return self._until.add(self._words.add(token))

    def end(self) -> str:
        """What was held back, since nothing more comes; half a character is left out."""
        return self._until.end()


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` could begin ``stop``."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
