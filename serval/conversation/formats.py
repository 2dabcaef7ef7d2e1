"""Messages as OpenAI's clients and Hugging Face's templates write them, read with limits, and written for OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from serval.conversation.messages import Media, Message, Part, Text, ToolCall
from serval.refusal import Refusal


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


def to_openai(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as OpenAI's API takes them. It has no times and no frame rates: they are left out.

    Raises:
        Refusal: a medium is not in a place that the API reaches.
    """
    return [_sent(message, f"message {number}") for number, message in enumerate(messages, 1)]


def _sent(message: Message, where: str) -> dict[str, Any]:
    parts = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else _sent_medium(part, f"{where}, part {number}")
        for number, part in enumerate(message.parts, 1)
    ]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    only_text = len(parts) == 1 and parts[0]["type"] == "text"
    fields = {
        "role": message.role,
        "content": parts[0]["text"] if only_text else parts or ("" if not calls else None),
        "name": message.name,
        "tool_calls": calls or None,
        "tool_call_id": message.tool_call_id,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _sent_medium(part: Media, where: str) -> dict[str, Any]:
    if part.kind == "audio" and part.data is not None:
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format or "wav"}}
    url = part.url if part.data is None else f"data:{part.kind}/{part.format or _USUAL[part.kind]};base64,{part.data}"
    if part.kind == "audio" or url is None:
        raise Refusal(where, f"the {part.kind} is not in the message", "put its data into it")
    detail = {} if part.detail is None else {"detail": part.detail}
    return {"type": f"{part.kind}_url", f"{part.kind}_url": {"url": url, **detail}}


_Fields = dict[str, Any]
_USUAL = {"image": "png", "video": "mp4"}  # containers
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


_Model = TypeVar("_Model", bound=BaseModel)


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
