"""A video file as a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.media.open_video import open_video
from serval.media.video import Remark
from serval.sources.source import NoteKind, SourceNote

_CLOSE = 0.001  # seconds after the last picture at which the end is told


class FileSource:
    """Pictures of a video file, from 0 seconds on by its own time stamps. Damage is told and read past."""

    kind, live = "file", False

    def __init__(self, path: Path, name: str, limits: MediaLimits | None = None) -> None:
        """Raises `Refusal` when the file cannot be watched, before anything else is done."""
        self.name, self.path = name, path
        self._video = open_video(path, source=name, limits=limits)
        self._closed = False

    def items(self) -> Iterator[Frame | SourceNote]:
        info, pictures, last = self._video.info, 0, 0.0
        assert info is not None
        long = f", {info.duration:.1f} s" if info.duration else ""
        text = f"{self.name} opened: {info.width}x{info.height}{long}"
        yield SourceNote(NoteKind.OPENED, self.name, 0.0, text, info.as_data())
        try:
            for item in self._video.items():
                if self._closed:
                    return
                if isinstance(item, Frame):
                    pictures, last = pictures + 1, item.time
                    yield item
                elif isinstance(item, Remark):
                    text = f"{self.name}: {item.text}"
                    yield SourceNote(NoteKind(item.kind), self.name, item.time, text, item.data)
        finally:
            self._video.close()
        yield SourceNote(NoteKind.ENDED, self.name, last + _CLOSE, f"{self.name} ended", {"pictures": pictures})

    def close(self) -> None:
        self._closed = True
