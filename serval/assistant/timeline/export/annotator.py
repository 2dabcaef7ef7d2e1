"""Draws into the pictures of one source what Serval sees and says in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.assistant.event import Event, Evidence
from serval.assistant.timeline.export.cues import LETTERS_A_SECOND, LONGEST, SPOKEN, caption
from serval.assistant.timeline.export.hues import colour
from serval.assistant.timeline.plain import clock, one_line
from serval.assistant.view import Track
from serval.media.box import Box
from serval.media.drawing import Marked, draw_boxes, draw_captions, draw_note

SIDE = 1280  # pixels; the longer side of an annotated picture is no longer than this
STAYS = 3.0  # seconds a caption stands at least
READ = 1.0  # seconds for which a box is drawn around text that was read


@dataclass
class _Caption:
    text: str
    said_at: float
    reads: tuple[Evidence, ...]  # text in the picture that it is about
    until: float = inf  # known once it is shown


class Annotator:
    """Remembers what is being said and draws it, with the objects in view, into one picture after the other.

    Args:
        name: of the source, shown beside the time; empty shows the time alone.
    """

    def __init__(self, name: str = "") -> None:
        self._name = one_line(name)
        self._captions: list[_Caption] = []

    def say(self, event: Event) -> None:
        """Take up an event; only what was spoken is shown, from its `said_at` on."""
        if event.kind in SPOKEN and (text := caption(event)):
            reads = tuple(each for each in event.evidence if each.text and each.box)
            self._captions.append(_Caption(text, event.said_at, reads))

    def draw(self, rgb: NDArray[np.uint8], time: float, tracks: Iterable[Track] = ()) -> NDArray[np.uint8]:
        """A picture with everything drawn in it; ``rgb`` itself stays as it is.

        Args:
            rgb: ``[height, width, 3]`` uint8; a large one is made smaller.
            time: seconds on the run's clock, in rising order from call to call.
            tracks: objects to show, their boxes where they are at ``time``.
        """
        picture = _smaller(rgb)
        self._captions = [each for each in self._captions if each.until > time]
        shown = [each for each in self._captions if each.said_at <= time]
        for each in shown:
            if each.until == inf:
                each.until = time + min(LONGEST, max(STAYS, len(each.text) / LETTERS_A_SECOND))
        boxes = [Marked(track.box, f"{track.label} {track.score:.2f}", colour(track.label)) for track in tracks]
        reads = [each for caption in shown for each in caption.reads if abs(time - each.time) <= READ]
        boxes += {read.box: Marked(read.box, f"“{read.text}”", colour("text")) for read in reads if read.box}.values()
        draw_boxes(picture, sorted(boxes, key=lambda marked: -marked.box.area))  # small ones on top
        draw_note(picture, f"{clock(time)}  {self._name}")
        draw_captions(picture, [each.text for each in shown])
        return picture

    def next_change(self, after: float) -> float:
        """When the captions change next, if no more is said; infinite when never."""
        moments = [moment for each in self._captions for moment in (each.said_at, each.until) if moment > after]
        return min(moments, default=inf)


def moved_on(track: Track, now: float) -> Track:
    """The track with its box where its speed has taken it since it was last seen, a quarter of a second on at most."""
    gap = min(max(0.0, now - track.last_seen), 0.25)
    dx, dy = track.speed[0] * gap, track.speed[1] * gap
    left, top, right, bottom = track.box
    return replace(track, box=Box(left + dx, top + dy, right + dx, bottom + dy))


def in_view(tracks: Iterable[Track], looked: float) -> list[Track]:
    """Settled tracks that the look at ``looked`` seconds, or the one just before, still saw."""
    return [track for track in tracks if track.settled and track.last_seen >= looked - 0.6]


def _smaller(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy, at most `SIDE` pixels long."""
    height, width = rgb.shape[:2]
    scale = SIDE / max(width, height)
    if scale >= 1:
        return np.array(rgb, order="C")
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
