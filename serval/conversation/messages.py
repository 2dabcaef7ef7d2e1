"""Messages and their parts, as OpenAI's clients and Hugging Face's templates write them, behind one set of types.

Media are the parts that say they are media: a picture's name, a placeholder or a special token in somebody's text is text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serval.refusal import Refusal

MediaKind = Literal["image", "video", "audio"]
Role = Literal["system", "developer", "user", "assistant", "tool"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Text(_Frozen):
    """Words in a message, ``time`` seconds into the stream if they have a time."""

    type: Literal["text"] = "text"
    text: str
    time: Seconds | None = None


class Media(_Frozen):
    """One picture, video or sound in a message: where it is, not what is in it.

    Attributes:
        kind: what it is.
        url, path, data: where it is; at most one. ``data`` is base64. Without any it was given beside the messages.
        attached: for a part without a place, which of the things of its kind given beside the messages it is, from 0.
        format: container of ``data`` ("wav", "mp3" …), if said.
        detail: how closely OpenAI's clients ask to look at a picture.
        time: when it begins, seconds on the stream's clock.
        fps: frames a second to take of a video.

    Equal parts are the same thing and need encoding once.
    """

    type: Literal["media"] = "media"
    kind: MediaKind
    url: str | None = None
    path: str | None = None
    data: str | None = None
    attached: int | None = Field(default=None, ge=0)
    format: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    time: Seconds | None = None
    fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Media:
        if sum(each is not None for each in (self.url, self.path, self.data, self.attached)) != 1:
            raise ValueError("it must be in one place: a url, a path or data")
        return self


Part = Annotated[Text | Media, Field(discriminator="type")]


class ToolCall(_Frozen):
    """A function the assistant asks for. ``arguments`` is what it wrote: JSON if it did well."""

    name: str
    arguments: str
    id: str | None = None


class Message(_Frozen):
    """One turn. ``name`` is who speaks (or which tool answers); ``tool_call_id`` says which call a tool's message answers."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts, one after another."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def media(self) -> tuple[Media, ...]:
        """The media parts in order."""
        return tuple(part for part in self.parts if isinstance(part, Media))


def media_of(messages: Iterable[Message]) -> Iterator[Media]:
    """Every media part of a conversation in order, as often as it occurs."""
    for message in messages:
        yield from message.media


def count_media(messages: Sequence[Message]) -> dict[MediaKind, int]:
    """How many pictures, videos and sounds a conversation has, by its parts."""
    kinds = [part.kind for part in media_of(messages)]
    return {kind: kinds.count(kind) for kind in ("image", "video", "audio")}


@dataclass(frozen=True)
class Limits:
    """What one conversation may hold: messages, parts, characters of text, and characters of media written into it."""

    messages: int = 1024
    parts: int = 4096
    characters: int = 2_000_000
    data: int = 64_000_000


def from_openai(messages: Sequence[Mapping[str, Any]], limits: Limits = Limits()) -> tuple[Message, ...]:
    """Read messages as OpenAI's clients send them: parts `text`, `image_url`, `input_audio` and `video_url`.

    A part may also say its ``time`` in seconds, and a video its ``fps``.

    Raises:
        Refusal: something is missing, unknown, of the wrong type or over a limit; it names the message and the part.
    """
    return _Reader(limits, _openai_part).read(messages)


def from_huggingface(messages: Sequence[Mapping[str, Any]], limits: Limits = Limits()) -> tuple[Message, ...]:
    """Read messages as Hugging Face's templates take them: parts `text`, `image`, `video` and `audio`.

    A medium is under ``url``, ``path`` or ``base64``, or under its own kind; without any it was given beside the
    messages (`Media.attached`), in order. A part may also say its ``time`` in seconds, and a video its ``fps``.

    Raises:
        Refusal: as `from_openai`.
    """
    return _Reader(limits, _huggingface_part).read(messages)


_Fields = dict[str, Any]
_IGNORED = {"refusal", "annotations", "audio", "function_call", "reasoning", "reasoning_content"}  # of replies sent back


class _Reader:
    """Counts against the limits while it reads, before anything is copied."""

    def __init__(self, limits: Limits, part: Callable[[_Fields, int], Part]) -> None:
        self._limits, self._part = limits, part
        self._parts = self._characters = self._data = 0
        self._attached: dict[str, int] = {}

    def read(self, messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
        if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
            raise Refusal("the conversation", "it is not a list of messages", "give a list")
        if not messages:
            raise Refusal("the conversation", "it has no message", "give one")
        self._check("messages", len(messages), self._limits.messages)
        return tuple(self._message(each, f"message {number}") for number, each in enumerate(messages, 1))

    def _message(self, message: Mapping[str, Any], where: str) -> Message:
        fields = _fields(message, where)
        content, calls = fields.pop("content", None), fields.pop("tool_calls", None) or []
        if not isinstance(calls, (list, tuple)):
            raise Refusal(where, "tool_calls is not a list", "give a list of calls")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if content is None and (calls or fields.get("role") == "assistant"):
            content = []
        if not isinstance(content, (list, tuple)):
            raise Refusal(where, "it has no content", "give text or a list of parts")
        self._parts += len(content) + len(calls)
        self._check("parts", self._parts, self._limits.parts)
        self._count(fields.get("name"), fields.get("tool_call_id"))
        if "parts" in fields:
            raise Refusal(where, "parts: it is not a field of a message", "put parts into content")
        fields = {key: value for key, value in fields.items() if key not in _IGNORED}
        fields["parts"] = tuple(self._read_part(each, f"{where}, part {number}") for number, each in enumerate(content, 1))
        fields["tool_calls"] = tuple(self._call(each, f"{where}, tool call {number}") for number, each in enumerate(calls, 1))
        return _made(where, Message, fields)

    def _read_part(self, part: Mapping[str, Any], where: str) -> Part:
        fields = _fields(part, where)
        kind = fields.get("type")
        if not isinstance(kind, str):
            raise Refusal(where, "it has no type", "say what kind of part it is")
        try:
            made = self._part(fields, self._attached.get(kind, 0))
        except ValidationError as error:
            raise _refused(where, error) from None
        except (KeyError, TypeError, AttributeError):
            raise Refusal(where, f"a part of type {kind[:40]!r} with these fields is not known", "see the API's page") from None
        if isinstance(made, Text):
            self._count(made.text)
        else:
            self._data += sum(len(each) for each in (made.url, made.path, made.data) if each)
            self._check("characters of media", self._data, self._limits.data)
            if made.attached is not None:
                self._attached[kind] = made.attached + 1
        return made

    def _call(self, call: Mapping[str, Any], where: str) -> ToolCall:
        fields = _fields(call, where)
        function = _fields(fields.get("function", fields), where)
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, Mapping):
            try:
                arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            except (ValueError, TypeError, RecursionError):
                raise Refusal(where, "its arguments are not JSON", "give strings, numbers, lists and objects") from None
        made = _made(where, ToolCall, {"name": function.get("name"), "arguments": arguments, "id": fields.get("id")})
        self._count(made.name, made.arguments, made.id)
        return made

    def _count(self, *texts: object) -> None:
        self._characters += sum(len(each) for each in texts if isinstance(each, str))
        self._check("characters", self._characters, self._limits.characters)

    def _check(self, what: str, number: int, limit: int) -> None:
        if number > limit:
            raise Refusal("the conversation", f"it has {number} {what}, the limit is {limit}", "send less")


def _openai_part(fields: _Fields, attached: int) -> Part:
    kind, common = fields.pop("type"), {"time": fields.pop("time", None)}
    if kind == "text":
        return Text(**fields, **common)
    inner = fields.pop(kind)
    if kind in ("image_url", "video_url"):
        inner = {"url": inner} if isinstance(inner, str) else dict(inner)
        return Media(kind="image" if kind == "image_url" else "video", url=inner.pop("url"), **inner, **fields, **common)
    if kind == "input_audio":
        inner = dict(inner)
        return Media(kind="audio", data=inner.pop("data"), **inner, **fields, **common)
    raise KeyError(kind)


def _huggingface_part(fields: _Fields, attached: int) -> Part:
    kind = fields.pop("type")
    if kind == "text":
        return Text(**fields)
    if kind not in ("image", "video", "audio"):
        raise KeyError(kind)
    place = fields.pop(kind, None)
    if place is not None:
        fields["url" if place.startswith("data:") or "://" in place else "path"] = place
    if "base64" in fields:
        fields["data"] = fields.pop("base64")
    if not any(each in fields for each in ("url", "path", "data")):
        fields["attached"] = attached
    return Media(kind=kind, **fields)


def _fields(mapping: object, where: str) -> _Fields:
    """The fields that are given: clients send null for the others."""
    if not isinstance(mapping, Mapping) or not all(isinstance(key, str) for key in mapping):
        raise Refusal(where, "it is not an object", "give names and values")
    return {key: value for key, value in mapping.items() if value is not None}


_Model = TypeVar("_Model", bound=_Frozen)


def _made(where: str, model: type[_Model], fields: _Fields) -> _Model:
    try:
        return model(**fields)
    except ValidationError as error:
        raise _refused(where, error) from None


def _refused(where: str, error: ValidationError) -> Refusal:
    """The first thing that is wrong, in one line, without the value: it may be private, or megabytes long."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ascii(" ".join(str(each)[:40] for each in first["loc"]))[1:-1]
    why = first["msg"].removeprefix("Value error, ")
    return Refusal(where, f"{field}: {why[0].lower()}{why[1:]}" if field else why, "see the API's page")
