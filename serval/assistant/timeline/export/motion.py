"""Where the objects of a recording were at any moment, not only when somebody looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from serval.assistant.perception import Perception
from serval.assistant.timeline.export.annotator import in_view
from serval.assistant.timeline.recording import Recording
from serval.assistant.view import Track, View
from serval.encoders.percept import Looks, Percept
from serval.media.box import Box


def views(recording: Recording, source: str) -> Iterator[View]:
    """What was known of a source at each frame, worked out again from what was seen in it."""
    perception = Perception(Looks())
    for frame in recording.frames(source=source):
        percept = recording.percept(source, frame.index) if frame.examined else None
        yield perception.update(percept or Percept(source=source, index=frame.index, time=frame.time, luma=frame.luma))


@dataclass(frozen=True)
class _Look:
    time: float
    tracks: dict[tuple[int, float], Track]  # by id and first sight: ids begin anew after a cut


class Motion:
    """Objects in view at any time, asked for in rising order. Between two looks a box goes straight from one to the other."""

    def __init__(self, views: Iterator[View]) -> None:
        self._looks = _looks(views)
        self._now = _Look(-inf, {})
        self._next = next(self._looks, None)

    def at(self, time: float) -> list[Track]:
        while self._next is not None and self._next.time <= time + 1e-6:
            self._now, self._next = self._next, next(self._looks, None)
        return [self._between(key, track, time) for key, track in self._now.tracks.items()]

    def _between(self, key: tuple[int, float], track: Track, time: float) -> Track:
        after = self._next.tracks.get(key) if self._next is not None else None
        if self._next is None or after is None or after.last_seen <= self._now.time:
            return track
        share = (time - self._now.time) / (self._next.time - self._now.time)
        box = Box(*(a + share * (b - a) for a, b in zip(track.box, after.box, strict=True)))
        return replace(track, box=box)


def _looks(views: Iterator[View]) -> Iterator[_Look]:
    """The views in which objects were looked for, or were lost by a cut."""
    looked = -inf
    known: set[tuple[int, float]] = set()
    for view in views:
        seen = view.percept.detections is not None
        looked = view.time if seen else looked
        tracks = {(track.id, track.first_seen): track for track in in_view(view.tracks, looked)}
        if seen or set(tracks) != known:
            known = set(tracks)
            yield _Look(view.time, tracks)
