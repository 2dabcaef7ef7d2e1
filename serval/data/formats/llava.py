"""Conversations as LLaVA (arXiv 2304.08485) wrote them down: turns of ``from`` and ``value``, media by placeholders.

    {"id": 7, "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", …}]}

A placeholder becomes a part where it stands, and there are as many as there are media: ``<image>`` anywhere else is refused,
since every trainer of this format would take it for a picture. LLaVA-Video and others write ``<image>`` for a video, too. Line
ends beside placeholders stay in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serval.conversation.messages import Media, MediaKind, Message, Part, Role, Text, media_of
from serval.data.formats.layout import Flat
from serval.data.formats.record import OURS, Format, Record, objects, taken
from serval.data.item import Item
from serval.refusal import Refusal

PLACEHOLDERS: dict[MediaKind, str] = {"image": "<image>", "video": "<video>", "audio": "<audio>"}
SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
}


@dataclass(frozen=True)
class Dialogue:
    """A format of this family.

    Attributes:
        name: what it is called.
        fields: which fields hold the media of each kind, the usual one first.
        listed: a single medium is a list, too.
        speakers: whose turn a ``from`` is.
    """

    name: str
    fields: Mapping[MediaKind, tuple[str, ...]]
    listed: bool = False
    speakers: Mapping[str, Role] = field(default_factory=lambda: SPEAKERS)

    def decode(self, record: Record) -> Item:
        id_ = taken(record, "id", str, int, default=None)
        media = {kind: self._media(record, kind) for kind in self.fields}
        turns = objects(taken(record, "conversations", list), "message")
        values = [taken(turn, "value", str, what=f"message {number}") for number, turn in enumerate(turns, 1)]
        places = Places(media, values)
        messages: list[Message] = []
        unlearned = []
        system = record.pop("system", None) if isinstance(record.get("system"), str) else None
        if system:
            messages.append(Message.of("system", system))
        for number, (turn, value) in enumerate(zip(turns, values, strict=True), 1):
            messages.append(self.message(turn, value, f"message {number}", places))
            if turn.get("weight") == 0 and messages[-1].role == "assistant":
                unlearned.append(len(messages) - 1)
        places.done()
        return Item(id=id_, messages=tuple(messages), unlearned=tuple(unlearned), extra=record)

    def message(self, turn: Record, value: str, what: str, places: Places) -> Message:
        speaker = taken(turn, "from", str, what=what)
        if speaker not in self.speakers:
            raise Refusal(what, f"it is from {speaker[:40]!r}", f"write {' or '.join(self.speakers)}")
        role = self.speakers[speaker]
        return Message(role=role, parts=places.parts(value, what, role in ("user", "tool")))

    def encode(self, item: Item) -> Record:
        if not item.messages:
            raise Refusal("", "it has no conversation", f"{self.name} is one")
        shown = list(media_of(item.messages))
        kinds = {part.kind for part in shown}
        turns = []
        for number, message in enumerate(item.messages):
            weight: Record = {"weight": 0} if number in item.unlearned else {}
            turns += [{**turn, **weight} for turn in self.turns(message, kinds, f"message {number + 1}")]
        fields: Record = {} if item.id is None else {"id": item.id}
        for kind, (name, *_) in self.fields.items():
            found = [place_of(part, item) for part in shown if part.kind == kind]
            if found:
                fields[name] = found if self.listed or len(found) > 1 else found[0]
        fields["conversations"] = turns
        own = {"id", "system", "conversations", *(name for names in self.fields.values() for name in names)}
        return {**fields, **rest(item, own)}

    def turns(self, message: Message, kinds: Iterable[MediaKind], what: str) -> list[Record]:
        """A message as turns; most are one."""
        speaker = next((name for name, role in self.speakers.items() if role == message.role), None)
        if speaker is None or message.tool_calls:
            spoken = "a call of a tool" if message.tool_calls else f"of a {message.role}"
            raise Refusal(what, f"it is {spoken}, which {self.name} does not know", "write openai or sharegpt")
        return [{"from": speaker, "value": self.value(message, kinds, what)}]

    def value(self, message: Message, kinds: Iterable[MediaKind], what: str) -> str:
        """A message's text, with placeholders."""
        shown = message.media
        if shown and message.role not in ("user", "tool"):
            raise Refusal(what, f"the {message.role} shows media, which {self.name} does not know", "write openai")
        written = [PLACEHOLDERS[each] for each in {"image", *kinds}]
        value = "".join(part.text if isinstance(part, Text) else "\0" for part in message.parts)
        for token in written:
            if token in value:
                raise Refusal(what, f"its text has {token}, which stands for media", "write openai, or change the text")
        if value.count("\0") > len(shown):
            raise Refusal(what, "its text has a null", "take it out")
        for part in shown:
            value = value.replace("\0", PLACEHOLDERS[part.kind], 1)
        if sum(map(value.count, written)) != len(shown):
            raise Refusal(what, "its text around media looks like a placeholder", "write openai, or change the text")
        return value

    def _media(self, record: Record, kind: MediaKind) -> list[Media]:
        names = [name for name in self.fields[kind] if record.get(name) is not None]
        if len(names) > 1:
            raise Refusal("", f"it has {' and '.join(names)}", "give one of them")
        found = [] if not names else taken(record, names[0], str, list)
        places = [found] if isinstance(found, str) else found
        for number, place in enumerate(places, 1):
            if not isinstance(place, str) or not place:
                raise Refusal(f"{kind} {number}", "it is not a path or a URL", "give one")
        return [named(kind, place) for place in places]


class Places:
    """Puts media where placeholders are, in order."""

    def __init__(self, media: Mapping[MediaKind, list[Media]], values: list[str]) -> None:
        self._tokens: dict[str, MediaKind] = {PLACEHOLDERS["image"]: "image"}
        self._tokens |= {PLACEHOLDERS[kind]: kind for kind, each in media.items() if each}
        video = PLACEHOLDERS["video"]
        if media.get("video") and not media.get("image") and not any(video in value for value in values):
            self._tokens = {**self._tokens, PLACEHOLDERS["image"]: "video"}
        self._split = re.compile("(" + "|".join(map(re.escape, self._tokens)) + ")")
        self._media = media
        self._count = dict.fromkeys(PLACEHOLDERS, 0)

    def parts(self, value: str, what: str, shows: bool) -> tuple[Part, ...]:
        parts: list[Part] = []
        for piece in self._split.split(value):
            kind = self._tokens.get(piece)
            if kind is None:
                parts += [Text(text=piece)] if piece else []
                continue
            if not shows:
                raise Refusal(what, f"its text has {piece}, and is not the user's", "take it out")
            if self._count[kind] < len(self._media[kind]):
                parts.append(self._media[kind][self._count[kind]])
            self._count[kind] += 1
        return tuple(parts)

    def done(self) -> None:
        for token, kind in self._tokens.items():
            count, there = self._count[kind], len(self._media.get(kind, []))
            if count != there:
                raise Refusal("", f"it has {count} {token} and {there} of the kind {kind}", "give one for each")


def named(kind: MediaKind, place: str) -> Media:
    """A medium by its URL or its path."""
    if "://" in place or place[:5].lower() in ("data:", "file:"):
        return Media(kind=kind, url=place)
    return Media(kind=kind, path=place)


def place_of(part: Media, item: Item) -> str:
    """A medium's path or URL, whichever way it is in the item."""
    if part.attached is not None:
        part = [each for each in item.media if each.kind == part.kind][part.attached]
    if part.data is not None:
        return f"data:{part.kind}/{part.format or _USUAL[part.kind]};base64,{part.data}"
    place = part.path if part.url is None else part.url
    if place is None:
        raise Refusal(part.kind, "it is in no file", "give its path or URL")
    return place


def rest(item: Item, own: set[str]) -> Record:
    """What else an item's record says, but for fields that a format has a meaning for."""
    return {name: value for name, value in item.extra.items() if name not in own | {OURS}}


_USUAL: dict[MediaKind, str] = {"image": "png", "video": "mp4", "audio": "wav"}
_LLAVA = Dialogue("llava", {"image": ("image", "images"), "video": ("video", "videos"), "audio": ("audio", "audios")})
LLAVA = Format("llava", "LLaVA's conversations with <image>", Flat(), _LLAVA.decode, _LLAVA.encode, roomy=True)
