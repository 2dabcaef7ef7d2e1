"""A directory of pictures as a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from serval.media.explain import explain
from serval.media.frame import Frame
from serval.media.image import SUFFIXES, read_image
from serval.media.limits import MediaLimits
from serval.media.local_file import printable
from serval.refusal import Refusal
from serval.sources.source import NoteKind, SourceNote

_DIGITS = re.compile(r"(\d+)")


class ImagesSource:
    """The pictures of a directory in the natural order of their names, ``1 / fps`` seconds apart. Broken ones are told."""

    kind, live = "images", False

    def __init__(self, folder: Path, name: str, *, fps: float, limits: MediaLimits | None = None) -> None:
        self.name, self.path = name, folder
        self._limits, self._fps, self._closed = limits or MediaLimits(), fps, False
        what = printable(folder.name)
        try:
            self._paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=natural)
        except OSError as error:
            raise Refusal(what, explain(error), "check the path") from None
        if not self._paths:
            raise Refusal(what, "there is no picture in this directory", f"known are {', '.join(sorted(SUFFIXES))}")
        if len(self._paths) > self._limits.images:
            why = f"it holds {len(self._paths):,} pictures, and {self._limits.images:,} are the limit"
            raise Refusal(what, why, "give a directory with fewer")

    def items(self) -> Iterator[Frame | SourceNote]:
        count = len(self._paths)
        yield SourceNote(NoteKind.OPENED, self.name, 0.0, f"{self.name} opened: {count} pictures", {"pictures": count})
        shown, time = 0, 0.0
        for index, path in enumerate(self._paths):
            if self._closed:
                return
            time = index / self._fps
            try:
                pixels = read_image(path, self._limits)
            except Refusal as refusal:
                yield SourceNote(NoteKind.BROKEN, self.name, time, f"{self.name}: {refusal}", {"file": printable(path.name)})
                continue
            shown += 1
            yield Frame.from_rgb(pixels, source=self.name, index=index, time=time)
        yield SourceNote(NoteKind.ENDED, self.name, time + 0.001, f"{self.name} ended", {"pictures": shown})

    def close(self) -> None:
        self._closed = True


def natural(path: Path) -> tuple[object, ...]:
    """Sorts picture-2 before picture-10, and the same everywhere."""
    parts = _DIGITS.split(path.name)  # text and number by turns
    return (*((int(part), "") if turn % 2 else (0, part.casefold()) for turn, part in enumerate(parts)), (0, path.name))
