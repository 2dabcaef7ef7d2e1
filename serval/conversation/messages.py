"""Messages and their parts: what a conversation is here, whoever wrote it down.

Media are the parts that say they are media: a picture's name, a placeholder or a special token in somebody's text is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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

    @classmethod
    def of(cls, role: Role, text: str) -> Message:
        """A message of words."""
        return cls(role=role, parts=(Text(text=text),))

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
