"""What a source of pictures is, and what it can say about itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from serval.media.frame import Frame


class NoteKind(StrEnum):
    OPENED = "opened"
    ENDED = "ended"
    LOST = "lost"  # the connection is gone; it is being tried again
    BACK = "back"  # pictures come again after lost or stalled
    FROZEN = "frozen"  # the same picture over and over
    THAWED = "thawed"
    AUDIO_ONLY = "audio_only"  # sound comes, pictures do not
    VIDEO_BACK = "video_back"
    CLOCK_JUMP = "clock_jump"  # the source's own time stamps went back or leapt
    RESOLUTION = "resolution"  # the picture's size changed
    BROKEN = "broken"  # part of it cannot be read
    DROPPED = "dropped"  # frames that nobody could use in time
    STALLED = "stalled"  # connected, but no picture comes, or a file is read more slowly than it plays


@dataclass(frozen=True)
class SourceNote:
    """Something that happened to a source, in one sentence for people and in ``data`` for programs."""

    kind: NoteKind
    source: str
    time: float  # seconds on the run's clock
    text: str
    data: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A stream of pictures.

    Attributes:
        name: by which frames, notes and instructions refer to it.
        kind: "file", "images", "camera", "rtsp" or "http".
        live: pictures come when they happen and cannot be asked for again.
    """

    name: str
    kind: str
    live: bool

    def items(self) -> Iterator[Frame | SourceNote]:
        """Pictures and notes in the order of their times.

        Times of a stored source start at 0 and follow its own time stamps; those of a live one are the clock's at arrival.
        """
        ...

    def close(self) -> None:
        """Make `items` end soon. May be called from another thread, and more than once."""
        ...
