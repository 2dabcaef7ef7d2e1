"""The items of a conversation, in their order, and no more than so many. The client is told of every change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from serval.assistant.listening.activity import Utterance
from serval.serving.realtime.effects import Outbox, Role, Turn
from serval.serving.realtime.protocol import Item, Unreadable
from serval.serving.realtime.response import Response
from serval.serving.realtime.told import ItemDeleted, ItemTold

_CONTENT = {("user", False): "input_text", ("user", True): "input_audio", ("system", False): "input_text"}


@dataclass(eq=False)
class Entry:
    """One item. Of sound its words are kept, not the sound.

    Attributes:
        pending: its words are still being found out.
        heard: when it was said, if the server found that out; it is to be answered then.
        response: what it was told by.
    """

    id: str
    role: Role
    text: str
    spoken: bool = False
    pending: bool = False
    heard: Utterance | None = None
    response: Response | None = None

    def view(self) -> dict[str, Any]:
        """As clients see it."""
        if self.response is not None:
            seen = self.response.item()
            return {**seen, "content": [{**each, **self._words()} for each in seen["content"]]}
        kind = _CONTENT.get((self.role, self.spoken)) or ("output_audio" if self.spoken else "output_text")
        status: Literal["completed"] = "completed"
        made = {"id": self.id, "object": "realtime.item", "type": "message", "role": self.role, "status": status}
        return {**made, "content": [{"type": kind, **self._words()}]}

    def _words(self) -> dict[str, str | None]:
        return {"transcript" if self.spoken else "text": None if self.pending else self.text}


class Conversation:
    """See the module.

    Args:
        most: items of it.
    """

    def __init__(self, most: int, outbox: Outbox) -> None:
        self._most, self._outbox = most, outbox
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def find(self, name: str) -> Entry | None:
        return next((each for each in self._entries if each.id == name), None)

    @property
    def last(self) -> str | None:
        """The name of the newest."""
        return self._entries[-1].id if self._entries else None

    def add(self, entry: Entry, after: str | None = None, *, done: bool = True) -> None:
        """Put it behind another one ("root" for the beginning), or at the end; of too many, the oldest go.

        Args:
            done: whether it is all there; otherwise `Floor` tells when it is.
        """
        at = len(self._entries)
        if after is not None:  # an unknown name is as good as the beginning
            at = next((number for number, each in enumerate(self._entries) if each.id == after), -1) + 1
        self._entries.insert(at, entry)
        before = self._entries[at - 1].id if at else None
        self._outbox.send(ItemTold(type="conversation.item.added", item=entry.view(), previous_item_id=before))
        if done:
            self.done(entry)
        for gone in self._entries[: max(0, len(self._entries) - self._most)]:
            self.remove(gone.id)

    def done(self, entry: Entry) -> None:
        """It is all there."""
        at = self._entries.index(entry)
        before = self._entries[at - 1].id if at else None
        self._outbox.send(ItemTold(type="conversation.item.done", item=entry.view(), previous_item_id=before))

    def remove(self, name: str) -> None:
        self._entries = [each for each in self._entries if each.id != name]
        self._outbox.send(ItemDeleted(item_id=name))

    @property
    def pending(self) -> bool:
        """Whether the words of some item are not known yet."""
        return any(each.pending for each in self._entries)

    def turns(self) -> tuple[Turn, ...]:
        """What was said, in words."""
        return tuple(Turn(each.role, each.text) for each in self._entries if each.text.strip())


def text_of(item: Item) -> str:
    """Its words. Raises `Unreadable` where it has something else."""
    for number, part in enumerate(item.content):
        fits = part.type.startswith("output_") if item.role == "assistant" else part.type == "input_text"
        if not fits:
            hint = "send pictures as binary messages, and sound as the only part of a user's item"
            raise Unreadable("invalid_value", f"content {number}: {part.type} cannot stand here; {hint}", "item.content")
    return "\n".join(part.text or part.transcript or "" for part in item.content)
