"""A run as a video, made afterwards: from the recorded pictures, or from the file that was watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serval.assistant.event import Event
from serval.assistant.timeline.export.annotated_video import RATE
from serval.assistant.timeline.export.annotator import Annotator
from serval.assistant.timeline.export.cues import SPOKEN
from serval.assistant.timeline.export.motion import Motion, views
from serval.assistant.timeline.plain import clock, one_line
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.media.open_video import open_video
from serval.media.writer import VideoWriter, check_target
from serval.refusal import Refusal

AFTER = 10.0  # seconds for which the last picture stands at most, when something is said after it

Pictures = Iterator[tuple[float, NDArray[np.uint8]]]


def annotated_video(
    timeline: Timeline, recording: Recording | None, out: Path, *, source: str | None = None, video: Path | None = None
) -> None:
    """Draw boxes and captions into the pictures of one source.

    Args:
        source: needed when the run has several.
        video: the file that was watched, for every picture of it; without it the video is made of the recorded pictures, each
            of which stands until the next.

    Raises:
        Refusal: nothing to draw on, no telling which source, ``video`` is not what was watched, ``out`` cannot be written.
    """
    name = _source(timeline, source)
    check_target(out, [video] if video else [])
    with ExitStack() as stack:
        if video is not None:
            known = [each for each in timeline.info.sources if each.name == name] if timeline.info else []
            for each in known:
                each.check(video)
            opened = stack.enter_context(open_video(video, source=name))
            pictures: Pictures = ((frame.time, frame.rgb) for frame in opened.frames())
        elif recording is not None:
            pictures = _recorded(recording, name)
        else:
            raise Refusal(timeline.name, "no pictures were recorded with it", "name the file that was watched with --video")
        motion = Motion(views(recording, name) if recording is not None else iter(()))
        spoken = (event for event in timeline.events(source=name) if event.kind in SPOKEN)
        if not _write(pictures, motion, spoken, out, video):
            raise Refusal(
                timeline.name, f"no picture of {one_line(name)} is kept", "name the file that was watched with --video"
            )


def _source(timeline: Timeline, source: str | None) -> str:
    names = timeline.sources()
    if source is None and len(names) == 1:
        return names[0]
    if source is None:
        known = ", ".join(one_line(name) for name in names) or "none"
        raise Refusal("video", f"it shows one source, and the run has {known}", "name one with --source")
    return source


def _recorded(recording: Recording, source: str) -> Pictures:
    last = -1.0
    for picture in recording.pictures(source=source):
        if picture.time > last:  # a picture that was looked at again comes once
            last = picture.time
            try:
                rgb = np.asarray(picture.open())
            except ValueError:
                why = f"the picture of {one_line(source)} at {clock(last)} is damaged"
                raise Refusal(recording.name, why, "name the file that was watched with --video") from None
            yield last, rgb


def _write(pictures: Pictures, motion: Motion, spoken: Iterator[Event], out: Path, video: Path | None) -> int:
    """Write every picture at its time, and again in between where what is being said changes. How many were written."""
    annotator, writer, began = Annotator(), None, 0.0
    waiting = next(spoken, None)
    with ExitStack() as stack:
        now, following = next(pictures, None), next(pictures, None)
        while now is not None:
            time, rgb = now
            until = following[0] if following is not None else time + AFTER
            while waiting is not None and waiting.said_at < until:
                annotator.say(waiting)
                waiting = next(spoken, None)
            while True:
                picture = annotator.draw(rgb, time, motion.at(time))
                if writer is None:
                    height, width = picture.shape[:2]
                    began = time
                    inputs = [video] if video else []
                    writer = stack.enter_context(VideoWriter(out, width, height, RATE, inputs=inputs))
                writer.write(picture, time - began)
                time = annotator.next_change(time)
                if time >= until:
                    break
            now, following = following, next(pictures, None)
    return writer.pictures if writer is not None else 0
