"""A streaming dialogue: frames at a rate, and words that stand behind the frame after which they are said.

Frames are numbered from the video's beginning; frame k is at k / fps seconds. What an assistant is to decide behind each frame
follows from the dialogue (VideoLLM-online, arXiv 2406.11816): stay silent when another frame follows, speak when its own words
do. Behind a frame that a person's words follow nothing is to be decided: nobody can know that a question comes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from serval.conversation.messages import Media, Message

Decision = Literal["silent", "speak"]
Rate = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0)]


class Stream(BaseModel):
    """How an item's messages stand among frames. Every message begins with a part whose time is that of a frame.

    Attributes:
        fps: frames a second.
        first: number of the first frame.
        ignored: runs of frames, from one to before another, behind which nothing is to be learned.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    fps: Rate
    first: Number = 0
    ignored: tuple[tuple[Number, Number], ...] = ()


class StreamFrame(NamedTuple):
    """A frame of a dialogue: its number, its seconds, and what is to be learned behind it, if anything."""

    number: int
    time: float
    decision: Decision | None


def frame_after(time: float, fps: float) -> int:
    """Number of the first frame at or after ``time`` seconds."""
    number = math.floor(time * fps) - 1
    while number / fps < time:
        number += 1
    return number


def frame_before(time: float, fps: float) -> int:
    """Number of the last frame at or before ``time`` seconds."""
    number = math.ceil(time * fps) + 1
    while number / fps > time:
        number -= 1
    return number


def message_time(message: Message) -> float | None:
    """When a message is said: the time of its first part."""
    return message.parts[0].time if message.parts else None


def message_frames(stream: Stream, messages: Sequence[Message]) -> tuple[int, ...]:
    """For each message the number of the frame that it stands behind.

    Raises:
        ValueError: a message has no time, one between frames, or one before that of the message ahead of it.
    """
    frames: list[int] = []
    for number, message in enumerate(messages, 1):
        time = message_time(message)
        frame = -1 if time is None else round(time * stream.fps)
        if frame / stream.fps != time:
            raise ValueError(f"message {number} has to begin at the time of a frame, at {stream.fps:g} a second")
        frames.append(frame)
        if frames[-1] < max([stream.first, *frames[-2:-1]]):
            raise ValueError(f"message {number} is said before what stands ahead of it")
    return tuple(frames)


def layout(stream: Stream, messages: Sequence[Message]) -> Iterator[StreamFrame | Message]:
    """Frames and messages in the order in which a model reads them.

    In a run of n frames before the assistant's words, n - 1 are "silent" and the last is "speak"; before a person's words
    the last is to be decided by nobody.
    """
    number = stream.first
    for message, end in zip(messages, message_frames(stream, messages), strict=True):
        for each in range(number, end + 1):
            decision: Decision | None = "silent" if each < end else "speak" if message.role == "assistant" else None
            if any(start <= each < stop for start, stop in stream.ignored):
                decision = None
            yield StreamFrame(each, each / stream.fps, decision)
        yield message
        number = end + 1


def as_messages(
    stream: Stream, messages: Sequence[Message], unlearned: Collection[int] = ()
) -> tuple[tuple[Message, ...], tuple[int, ...]]:
    """The dialogue with its frames as pictures, for any chat template: each run of frames begins the user's turn.

    A frame is `Media` of kind "image" whose ``attached`` is its number and whose ``time`` is its own.

    Returns:
        The messages, and ``unlearned`` as they are numbered now.
    """
    made: list[Message] = []
    frames: list[Media] = []
    moved: list[int] = []
    count = 0
    for each in layout(stream, messages):
        if isinstance(each, StreamFrame):
            frames.append(Media(kind="image", attached=each.number, time=each.time))
            continue
        if each.role == "user":
            each = each.model_copy(update={"parts": (*frames, *each.parts)})
        elif frames:
            made.append(Message(role="user", parts=tuple(frames)))
        frames = []
        moved += [len(made)] * (count in unlearned)
        made.append(each)
        count += 1
    return tuple(made), tuple(moved)
