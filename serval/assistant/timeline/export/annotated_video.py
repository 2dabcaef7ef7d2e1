"""A run as a video, written while it is watched: boxes around what Serval follows, and captions as it says them."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import TracebackType

from serval.assistant.event import Event
from serval.assistant.timeline.export.annotator import Annotator, in_view, moved_on
from serval.assistant.view import View
from serval.media.frame import Frame
from serval.media.writer import VideoWriter, check_target
from serval.refusal import Refusal

log = logging.getLogger(__name__)

RATE = 25.0  # pictures a second that the encoder plans for; each still has its own time


@dataclass
class _Reel:
    """The video of one source."""

    annotator: Annotator
    writer: VideoWriter | None = None  # known with the first frame
    began: float = 0.0
    looked: float = -inf
    broken: bool = False


class AnnotatedVideo:
    """Takes frames and events as they come and writes a video: one for each source when there are several.

    Events may come from another thread. When a video cannot be written any further, it is given up with a warning, and what
    is watched goes on.

    Args:
        path: of the video; with several sources their names are put before its ending.
        sources: names of the sources.
        inputs: files being watched, which must not be written over.

    Raises:
        Refusal: the file cannot be written there.
    """

    def __init__(self, path: Path, sources: Sequence[str], *, inputs: Iterable[Path] = ()) -> None:
        self._inputs = tuple(inputs)
        several = len(sources) > 1
        self.paths = dict(zip(sources, _paths(path, sources), strict=True))
        for each in self.paths.values():
            check_target(each, self._inputs)
        self._reels = {name: _Reel(Annotator(name if several else "")) for name in sources}
        self._lock = threading.Lock()

    def see(self, frame: Frame, view: View) -> None:
        """Add a frame with what was in view; the frames of one source come in the order of time."""
        reel = self._reels[frame.source]
        if reel.broken:
            return
        if view.percept.detections is not None:
            reel.looked = view.time
        tracks = [moved_on(track, frame.time) for track in in_view(view.tracks, reel.looked)]
        with self._lock:
            picture = reel.annotator.draw(frame.rgb, frame.time, tracks)
        try:
            if reel.writer is None:
                height, width = picture.shape[:2]
                reel.writer = VideoWriter(self.paths[frame.source], width, height, RATE, inputs=self._inputs)
                reel.began = frame.time
            reel.writer.write(picture, frame.time - reel.began)
        except Refusal as refusal:
            self._give_up(reel, refusal)

    def say(self, event: Event) -> None:
        """Show what was said from the next frame of its source on."""
        with self._lock:
            if event.source in self._reels:
                self._reels[event.source].annotator.say(event)

    def close(self) -> None:
        """Finish every video and put it in its place."""
        for reel in self._reels.values():
            if reel.writer is not None and not reel.broken:
                try:
                    reel.writer.close()
                except Refusal as refusal:
                    self._give_up(reel, refusal)

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()  # whatever ended the watch, what was seen until then is worth having

    def _give_up(self, reel: _Reel, refusal: Refusal) -> None:
        reel.broken = True
        if reel.writer is not None:
            reel.writer.discard()
        log.warning("the video is given up: %s", refusal)


def _paths(path: Path, sources: Sequence[str]) -> list[Path]:
    """A file name for each source, no two alike, whatever the sources are called."""
    if len(sources) == 1:
        return [path]
    plain = [re.sub(r"[^\w-]+", "-", name)[:40].strip("-") for name in sources]
    alike = len(set(plain)) < len(plain) or "" in plain
    unlike = [f"{number}-{name}" if alike else name for number, name in enumerate(plain, start=1)]
    return [path.with_name(f"{path.stem}-{name}{path.suffix}") for name in unlike]
