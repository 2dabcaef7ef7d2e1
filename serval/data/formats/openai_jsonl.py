"""Conversations as OpenAI's API takes them, one to a line: what it fine-tunes on, and what most trainers read.

Besides what `serval.conversation.formats` reads, media may be named by their path, parts may have a ``time``, and what the
assistant says may have a ``weight`` of 0: it is not to be learned.
"""

from __future__ import annotations

import json
from typing import Any

from serval.conversation.messages import Media, MediaKind, Message, Part, Text, ToolCall
from serval.data.formats.layout import Flat
from serval.data.formats.llava import named, place_of, rest
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Item
from serval.refusal import Refusal

_URLS: dict[str, MediaKind] = {"image_url": "image", "video_url": "video", "audio_url": "audio"}


def decode(record: Record) -> Item:
    id_ = taken(record, "id", str, int, default=None)
    fields = objects(taken(record, "messages", list), "message")
    if not fields:
        raise Refusal("", "it has no message", "give one")
    messages = tuple(_message(each, f"message {number}") for number, each in enumerate(fields, 1))
    weights = [each.get("weight") for each in fields]
    unlearned = tuple(number for number, each in enumerate(messages) if each.role == "assistant" and weights[number] == 0)
    return Item(id=id_, messages=messages, unlearned=unlearned, extra=record)


def _message(fields: Record, what: str) -> Message:
    content = taken(fields, "content", str, list, type(None), default=None, what=what)
    calls = taken(fields, "tool_calls", list, default=None, what=what) or []
    if content is None and not calls and fields.get("role") != "assistant":
        raise Refusal(what, "it has no content", "give text or a list of parts")
    if isinstance(content, str):
        parts: list[Part] = [Text(text=content)] if content else []
    else:
        found = objects(content or [], f"{what}, part")
        parts = [_part(each, f"{what}, part {number}") for number, each in enumerate(found, 1)]
    return Message(
        role=taken(fields, "role", str, what=what),
        parts=tuple(parts),
        name=taken(fields, "name", str, default=None, what=what),
        tool_calls=tuple(_call(each, what) for each in objects(calls, f"{what}, tool call")),
        tool_call_id=taken(fields, "tool_call_id", str, default=None, what=what),
    )


def _part(fields: Record, what: str) -> Part:
    kind = taken(fields, "type", str, what=what)
    time = taken(fields, "time", float, default=None, what=what)
    if kind == "text":
        return Text(text=taken(fields, "text", str, what=what), time=time)
    if kind == "input_audio":
        inner = dict(taken(fields, kind, dict, what=what))
        said = taken(inner, "format", str, default=None, what=what)
        return Media(kind="audio", data=taken(inner, "data", str, what=what), format=said, time=time)
    if kind not in _URLS:
        raise Refusal(what, f"it is of the type {kind[:40]!r}", f"write text, input_audio, {', '.join(_URLS)}")
    place = taken(fields, kind, str, dict, what=what)
    inner = {"url": place} if isinstance(place, str) else dict(place)
    part = named(_URLS[kind], taken(inner, "url", str, what=what))
    details = {
        "detail": taken(inner, "detail", str, default=None, what=what),
        "fps": taken(fields, "fps", float, default=None, what=what),
        "time": time,
    }
    return Media(**{**part.model_dump(exclude_none=True), **details})


def _call(fields: Record, what: str) -> ToolCall:
    id_ = taken(fields, "id", str, default=None, what=what)
    function = dict(taken(fields, "function", dict, what=what))
    arguments = taken(function, "arguments", str, dict, default="{}", what=what)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(name=taken(function, "name", str, what=what), arguments=text, id=id_)


def encode(item: Item) -> Record:
    if not item.messages:
        raise Refusal("", "it has no conversation", "openai is one")
    messages = [_sent(item, number) for number in range(len(item.messages))]
    head: Record = {} if item.id is None else {"id": item.id}
    return {**head, "messages": messages, **rest(item, {"id", "messages"})}


def _sent(item: Item, number: int) -> Record:
    message = item.messages[number]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    match message.parts:
        case ():
            content: Any = None if calls else ""
        case (Text(time=None),):
            content = message.text
        case parts:
            content = [_sent_part(part, item) for part in parts]
    fields = {
        "name": message.name,
        "tool_calls": [{name: value for name, value in call.items() if value is not None} for call in calls] or None,
        "tool_call_id": message.tool_call_id,
        "weight": 0 if number in item.unlearned else None,
    }
    return {"role": message.role, "content": content} | {name: value for name, value in fields.items() if value is not None}


def _sent_part(part: Part, item: Item) -> Record:
    time = {} if part.time is None else {"time": part.time}
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, **time}
    if part.kind == "audio" and part.data is not None:
        said = {} if part.format is None else {"format": part.format}
        return {"type": "input_audio", "input_audio": {"data": part.data, **said}, **time}
    detail = {} if part.detail is None else {"detail": part.detail}
    fps = {} if part.fps is None else {"fps": part.fps}
    kind = f"{part.kind}_url"
    return {"type": kind, kind: {"url": place_of(part, item), **detail}, **fps, **time}


OPENAI = Format("openai", "OpenAI's messages, one conversation to a line", Flat(lines=True), decode, encode, roomy=True)
