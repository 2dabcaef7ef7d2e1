"""The memory of a watch: one hard cap over recent pictures, keyframes, events and written notes.

Each layer has a fixed share of the cap and lets go of its oldest when that is full. Events and keyframes leave a written
note; notes that fill their own share are merged into fewer. Nothing goes without an `Eviction` that says what and why.
"""

from __future__ import annotations

import logging
import sys
import threading
from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, pairwise

from serval.assistant.event import Event, EventKind
from serval.assistant.memory.note import Note, Seen, labels_of
from serval.assistant.timeline.picture import Picture
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.percept import Percept
from serval.media.frame import Frame
from serval.refusal import Refusal

log = logging.getLogger(__name__)

NOTE_SECONDS = 600.0  # what goes within so long is told in one note


class Layer(StrEnum):
    RECENT = "recent pictures"
    KEYFRAMES = "keyframes"
    EVENTS = "events"
    NOTES = "notes"


SHARES = {Layer.RECENT: 0.30, Layer.KEYFRAMES: 0.40, Layer.EVENTS: 0.22, Layer.NOTES: 0.08}  # of the cap


@dataclass(frozen=True)
class Eviction:
    """Something the memory no longer holds, and why; ``note`` is what was written down of it."""

    layer: Layer
    source: str
    what: str
    since: float
    until: float
    bytes: int
    why: str
    note: Note | None = None


@dataclass(frozen=True)
class Keyframe:
    """A picture that an event rests on."""

    picture: Picture
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """An event as it is held: its JSON, which has a true size, and what is needed to find it."""

    source: str
    since: float
    until: float
    body: bytes
    labels: tuple[str, ...]


class Memory:
    """Holds at most ``megabytes``, whatever comes. Safe to share between threads.

    Args:
        megabytes: the cap on `size_bytes`.
        recent_seconds: how long a picture that no event rests on is held.
        on_evict: told of each eviction as it happens.
    """

    def __init__(
        self, megabytes: float, *, recent_seconds: float = 60.0, on_evict: Callable[[Eviction], None] = lambda eviction: None
    ) -> None:
        if megabytes < 1:
            raise Refusal(f"{megabytes:g} MB of memory", "this is too little", "give it at least 1 MB")
        self.limits = {layer: int(megabytes * (1 << 20) * share) for layer, share in SHARES.items()}
        self.evicted: Counter[Layer] = Counter()  # how many things each layer let go so far
        self._recent_seconds, self._on_evict = recent_seconds, on_evict
        self._recent: OrderedDict[tuple[str, int, str], Picture] = OrderedDict()  # in the order they came, as all of these
        self._keyframes: OrderedDict[tuple[str, int, str], Keyframe] = OrderedDict()  # a dict slows down when its first go
        self._events: OrderedDict[str, _Entry] = OrderedDict()
        self._notes: dict[str, list[Note]] = {}  # by source, each in the order of time
        self._sizes = dict.fromkeys(Layer, 0)
        self._lock = threading.RLock()

    @classmethod
    def restore(cls, timeline: Timeline, recording: Recording, megabytes: float, *, recent_seconds: float = 60.0) -> Memory:
        """The memory of a run as it can be rebuilt from its folder."""
        memory = cls(megabytes, recent_seconds=recent_seconds)
        for event in timeline.events():
            for evidence in event.evidence:
                if (picture := recording.picture_named(evidence.frame)) is not None:
                    memory.add_picture(picture)
            memory.add_event(event)
        end = max((frame.time for frame in recording.frames()), default=0.0)
        for picture in recording.pictures(since=max(0.0, end - recent_seconds)):
            memory.add_picture(picture)
        return memory

    @property
    def size_bytes(self) -> int:
        """Bytes held, counted object by object; never above the cap."""
        return sum(self._sizes.values())

    # -- taking in ----------------------------------------------------------------------------------------------------

    def add_frame(self, frame: Frame, percept: Percept) -> tuple[Eviction, ...]:
        """Hold the picture of a frame that an encoder looked at; frames that only the pixel gate saw are not held."""
        return self.add_picture(Picture.of(frame)) if percept.sha256 else ()

    def add_picture(self, picture: Picture) -> tuple[Eviction, ...]:
        """Hold a recent picture until it is too old, there is no room, or an event makes it a keyframe."""
        key = (picture.source, picture.index, picture.sha256)
        with self._lock:
            if key in self._keyframes or key in self._recent:
                return ()
            self._recent[key] = picture
            self._sizes[Layer.RECENT] += _picture_bytes(picture)
            gone = []
            while self._recent:
                oldest_key, oldest = next(iter(self._recent.items()))
                full = self._sizes[Layer.RECENT] > self.limits[Layer.RECENT]
                if not full and oldest.time >= picture.time - self._recent_seconds:
                    break
                why = self._full(Layer.RECENT) if full else f"it is older than {self._recent_seconds:g} s"
                del self._recent[oldest_key]
                size = _picture_bytes(oldest)
                gone.append(
                    self._gone(Layer.RECENT, oldest.source, f"picture {oldest.index}", oldest.time, oldest.time, size, why)
                )
            return tuple(gone)

    def add_event(self, event: Event) -> tuple[Eviction, ...]:
        """Hold an event and make keyframes of the recent pictures that its evidence names."""
        if event.kind is EventKind.NOTE:  # what it tells of was noted here when it went
            return ()
        labels = labels_of(event)
        names = {evidence.frame for evidence in event.evidence}
        with self._lock:
            if event.id in self._events:
                return ()
            for key in [key for key in self._recent if key[2] in names]:
                picture = self._recent.pop(key)
                self._keyframes[key] = Keyframe(picture, labels)
                self._sizes[Layer.RECENT] -= _picture_bytes(picture)
                self._sizes[Layer.KEYFRAMES] += _picture_bytes(picture) + _labels_bytes(labels)
            entry = _Entry(event.source, event.t_start, event.t_end, event.model_dump_json().encode(), labels)
            self._events[event.id] = entry
            self._sizes[Layer.EVENTS] += _entry_bytes(event.id, entry)
            return (*self._fit_keyframes(), *self._fit_events(), *self._fit_notes())

    # -- letting go ---------------------------------------------------------------------------------------------------

    def _fit_keyframes(self) -> Iterator[Eviction]:
        while self._sizes[Layer.KEYFRAMES] > self.limits[Layer.KEYFRAMES]:
            key = next(iter(self._keyframes))
            frame = self._keyframes.pop(key)
            moment = frame.picture.time
            seen = {label: Seen(0, moment, moment) for label in frame.labels}
            note = self._write(Note(frame.picture.source, moment, moment, pictures=1, labels=seen))
            size = _picture_bytes(frame.picture) + _labels_bytes(frame.labels)
            yield self._gone(
                Layer.KEYFRAMES, key[0], f"keyframe {key[1]}", moment, moment, size, self._full(Layer.KEYFRAMES), note
            )

    def _fit_events(self) -> Iterator[Eviction]:
        while self._sizes[Layer.EVENTS] > self.limits[Layer.EVENTS]:
            name = next(iter(self._events))
            entry = self._events.pop(name)
            seen = {label: Seen(1, entry.since, entry.until) for label in entry.labels}
            note = self._write(Note(entry.source, entry.since, entry.until, events=1, labels=seen))
            size = _entry_bytes(name, entry)
            yield self._gone(
                Layer.EVENTS, entry.source, f"event {name}", entry.since, entry.until, size, self._full(Layer.EVENTS), note
            )

    def _fit_notes(self) -> Iterator[Eviction]:
        """Merge the two neighbours that together tell of the shortest time, until all fit."""
        while self._sizes[Layer.NOTES] > self.limits[Layer.NOTES]:
            pairs = [
                (after.until - before.since, source, place)
                for source, notes in self._notes.items()
                for place, (before, after) in enumerate(pairwise(notes))
            ]
            if pairs:
                _, source, place = min(pairs)
                before, after = self._notes[source][place : place + 2]
                merged = before + after
                self._notes[source][place : place + 2] = [merged]
            elif len(self._notes) > 1:  # so many sources that each has only one note left
                (before,), (after,) = (self._notes.pop(source) for source in list(self._notes)[:2])
                merged = before + after
                self._notes.setdefault(merged.source, []).insert(0, merged)
            else:
                return
            freed = before.size_bytes + after.size_bytes - merged.size_bytes
            yield self._gone(
                Layer.NOTES,
                merged.source,
                "two notes, merged",
                merged.since,
                merged.until,
                freed,
                self._full(Layer.NOTES),
                merged,
            )

    def _write(self, note: Note) -> Note:
        """Add to the note of this source and stretch of time, or begin one."""
        notes = self._notes.setdefault(note.source, [])
        for place, known in reversed(list(enumerate(notes))):
            both = known + note
            if both.until - both.since <= max(NOTE_SECONDS, known.until - known.since):
                notes[place] = both
                self._sizes[Layer.NOTES] += both.size_bytes - known.size_bytes
                return both
        insort(notes, note, key=lambda each: each.since)
        self._sizes[Layer.NOTES] += note.size_bytes
        return note

    def _gone(
        self, layer: Layer, source: str, what: str, since: float, until: float, size: int, why: str, note: Note | None = None
    ) -> Eviction:
        self._sizes[layer] -= size
        self.evicted[layer] += 1
        eviction = Eviction(layer, source, what, since, until, size, why, note)
        log.debug("memory let go of %s (%.1f s): %s", what, since, why)
        self._on_evict(eviction)
        return eviction

    def _full(self, layer: Layer) -> str:
        return f"{layer} fill their {self.limits[layer] / (1 << 20):.1f} MB"

    # -- looking up ---------------------------------------------------------------------------------------------------

    def recent(self, *, source: str | None = None, since: float = 0.0) -> tuple[Picture, ...]:
        """Pictures still held, oldest first, keyframes among them."""
        with self._lock:
            held = [*(frame.picture for frame in self._keyframes.values()), *self._recent.values()]
        wanted = [each for each in held if source in (None, each.source) and each.time >= since]
        return tuple(sorted(wanted, key=lambda each: (each.time, each.source)))

    def keyframes(
        self, *, source: str | None = None, since: float = 0.0, until: float = float("inf"), label: str | None = None
    ) -> tuple[Keyframe, ...]:
        """Pictures that events rest on, oldest first."""
        with self._lock:
            held = list(self._keyframes.values())
        return tuple(
            each
            for each in held
            if source in (None, each.picture.source)
            and since <= each.picture.time <= until
            and (label is None or label in each.labels)
        )

    def events(self, *, source: str | None = None, since: float = 0.0, until: float = float("inf")) -> Iterator[Event]:
        """Events still held, in the order they came; an event counts when any of it lies between the two times."""
        with self._lock:
            held = list(self._events.values())
        for entry in held:
            if source in (None, entry.source) and entry.until >= since and entry.since <= until:
                yield Event.model_validate_json(entry.body)

    def notes(self) -> tuple[Note, ...]:
        """What was written down of everything that had to go, oldest first."""
        with self._lock:
            return tuple(sorted(chain(*self._notes.values()), key=lambda note: (note.since, note.source)))


# Sizes of what is held, as `tracemalloc` counts them: the large parts exactly, the small objects around them by a constant.


def _picture_bytes(picture: Picture) -> int:
    return sys.getsizeof(picture.jpeg) + sys.getsizeof(picture.sha256) + 300


def _labels_bytes(labels: tuple[str, ...]) -> int:
    return 140 + sum(sys.getsizeof(label) + 8 for label in labels)


def _entry_bytes(name: str, entry: _Entry) -> int:
    return sys.getsizeof(entry.body) + sys.getsizeof(name) + _labels_bytes(entry.labels) + 140
