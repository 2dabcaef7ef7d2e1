"""A training item: a conversation, and what is known besides about where and when things are.

One schema for every format. Written as JSON it is one line, and read from that line it is equal.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from serval.conversation.messages import Media, Message
from serval.data.stream import Stream, message_frames
from serval.media.box import Box
from serval.refusal import Refusal


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(each)
    return value


def _ordered(box: Box) -> Box:
    if not all(map(math.isfinite, box)) or box.left > box.right or box.top > box.bottom:
        raise ValueError("a box is finite, and goes from left to right and from top to bottom")
    return box


Fields = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
Moment = Annotated[float, Field(allow_inf_nan=False)]  # seconds of a video
Pixels = Annotated[int, Field(gt=0)]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class RunLengths(_Frozen):
    """A mask as COCO's run lengths: ``size`` is (height, width), ``counts`` go down the columns, packed in a string or not."""

    size: tuple[Pixels, Pixels]
    counts: str | tuple[int, ...]


class Region(_Frozen):
    """A place in a picture and what is said about it.

    Attributes:
        box: fractions of the picture.
        label: the name of its class.
        phrases: what people call it, each enough to find it.
        segmentation: its outline as COCO has it, in pixels: polygons of x, y, x, y …, or run lengths.
        size: width and height of the picture in pixels, where the box was given in pixels.
        media: which picture, by its place among the item's own media and then those of its messages, from 0.
        id, extra: what its data set calls it, and what else that says.
    """

    box: Annotated[Box, AfterValidator(_ordered)] | None = None
    label: str = ""
    phrases: tuple[str, ...] = ()
    segmentation: RunLengths | tuple[tuple[Coordinate, ...], ...] | None = None
    size: tuple[Pixels, Pixels] | None = None
    media: int = Field(default=0, ge=0)
    id: str | int | None = None
    extra: Fields = {}


class Event(_Frozen):
    """Something that happens in a video.

    Attributes:
        start, end: seconds; an event without an end is a moment.
        text: what happens.
        kind: which of the data set's lists it is from: "step", "narration_pass_1" …
        parent: which of the item's events it is part of, from 0.
        extra: what else the data set says.
    """

    start: Moment
    end: Moment | None = None
    text: str = ""
    kind: str = ""
    parent: int | None = Field(default=None, ge=0)
    extra: Fields = {}

    @model_validator(mode="after")
    def _forwards(self) -> Event:
        if self.end is not None and self.end < self.start:
            raise ValueError("it ends before it starts")
        return self


class Spelled(_Frozen):
    """The record that an item was read from, for a format that would write it in another way than it was written."""

    format: str
    record: Fields


class Item(_Frozen):
    """What a model is trained on, or asked.

    Attributes:
        id, source: what its data set calls it, and which data set that is.
        media: what there is beside the messages. A part of a message that is ``attached`` is the one of its kind with that
            number.
        messages: the conversation; media are among their parts.
        unlearned: numbers, from 0, of what the assistant says that is not to be learned.
        regions, events: what is where, and when.
        stream: how the messages stand among the frames of the item's video, for a streaming dialogue.
        extra: fields of its record that have no place here. Every format writes them as they are.
        spelled: see `Spelled`.
    """

    id: str | int | None = None
    source: str = ""
    media: tuple[Media, ...] = ()
    messages: tuple[Message, ...] = ()
    unlearned: tuple[int, ...] = ()
    regions: tuple[Region, ...] = ()
    events: tuple[Event, ...] = ()
    stream: Stream | None = None
    extra: Fields = {}
    spelled: Spelled | None = None

    @model_validator(mode="after")
    def _whole(self) -> Item:
        for number in self.unlearned:
            if not 0 <= number < len(self.messages) or self.messages[number].role != "assistant":
                raise ValueError(f"unlearned: {number} is not the number of something that the assistant says")
        for number, event in enumerate(self.events):
            if event.parent is not None and (event.parent >= len(self.events) or event.parent == number):
                raise ValueError(f"event {number + 1} is part of an event that is not there")
        beside = [part.kind for part in self.media]
        for part in (part for message in self.messages for part in message.parts if isinstance(part, Media)):
            if part.attached is not None and part.attached >= beside.count(part.kind):
                raise ValueError(f"{part.kind} {part.attached + 1} is to be beside the messages, and is not there")
        if self.stream is not None:
            message_frames(self.stream, self.messages)
        return self

    def to_json(self) -> str:
        """One line, without what is empty.

        Raises:
            Refusal: a text is not Unicode.
        """
        try:
            text = json.dumps(self.to_record(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            text.encode()
        except ValueError as error:
            raise Refusal(f"item {self.id}", f"it cannot be written ({error})", "mend its texts") from None
        return text

    def to_record(self) -> dict[str, Any]:
        """As JSON values, without what is as usual."""
        record: dict[str, Any] = _plain(self)
        return record

    @classmethod
    def from_json(cls, text: str | bytes) -> Item:
        """Read `to_json`.

        Raises:
            Refusal: it is not an item; the first thing that is wrong is named.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise Refusal("item", wrong_with(error), "mend the record") from None


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = ((name, getattr(value, name), usual) for name, usual in _fields(type(value)))
        return {name: _plain(each) for name, each, usual in fields if name == "type" or each != usual}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


@cache
def _fields(model: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, field.default) for name, field in model.model_fields.items())


def wrong_with(error: ValidationError) -> str:
    """The first thing that is wrong, in one line, without the value: it may be private, or megabytes long."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ascii(" ".join(str(each)[:40] for each in first["loc"]))[1:-1]
    why = first["msg"].removeprefix("Value error, ")
    return f"{place}: {why[:1].lower()}{why[1:]}" if place else why
