"""A source whose pictures somebody hands in: a browser's camera, or another program."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from serval.media.frame import Frame
from serval.sources.clock import Clock
from serval.sources.health import Health
from serval.sources.source import NoteKind, SourceNote

_LOOK = 1.0  # seconds between two looks at whether anything comes


class PushedSource:
    """A live source with a place for one picture. Whoever pushes while it is taken is told so: nothing is queued.

    Args:
        clock: of the run; a picture has the time at which it was pushed.
    """

    kind, live = "pushed", True

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self._clock = name, clock
        self._changed = threading.Condition()
        self._waiting: tuple[NDArray[np.uint8], float] | None = None
        self._closed = self._ended = False
        self._index = 0

    def push(self, rgb: NDArray[np.uint8]) -> tuple[float, str]:
        """Hand in a picture ``[height, width, 3]`` uint8. Its time, and why it was dropped: "" if not, "busy" or "closed"."""
        with self._changed:
            now = self._clock.now()
            if self._closed or self._ended:
                return now, "closed"
            if self._waiting is not None:
                return now, "busy"
            self._waiting = rgb, now
            self._changed.notify_all()
            return now, ""

    @property
    def refuses(self) -> str:
        """Why a picture that comes now would be dropped, so that nobody decodes it for nothing; "" if it would not."""
        return "closed" if self._closed or self._ended else "busy" if self._waiting is not None else ""

    def end(self) -> None:
        """No picture comes any more; what waits is still watched."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def items(self) -> Iterator[Frame | SourceNote]:
        """See `Source`."""
        health, size = Health(self.name, start=self._clock.now()), (0, 0)
        yield self._note(NoteKind.OPENED, "pictures are handed in")
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed or self._ended, timeout=_LOOK)
                if self._closed or (self._ended and self._waiting is None):
                    break
                waiting, self._waiting = self._waiting, None
            if waiting is None:
                yield from health.tick(self._clock.now())
                continue
            frame = Frame.from_rgb(waiting[0], source=self.name, index=self._index, time=waiting[1])
            self._index += 1
            if size not in ((0, 0), (frame.width, frame.height)):
                yield self._note(NoteKind.RESOLUTION, f"its picture is {frame.width}x{frame.height} from here on")
            size = frame.width, frame.height
            yield from health.picture(frame.luma, frame.time)
            yield frame
        yield self._note(NoteKind.ENDED, "no more pictures are handed in")

    def close(self) -> None:
        """See `Source`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _note(self, kind: NoteKind, text: str) -> SourceNote:
        return SourceNote(kind, self.name, self._clock.now(), f"{self.name}: {text}")
