"""Several sources on one clock, as one stream of pictures and notes; what cannot be used in time is dropped and counted."""

from __future__ import annotations

import heapq
import logging
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.sources.clock import Clock
from serval.sources.source import NoteKind, Source, SourceNote

log = logging.getLogger(__name__)

Pace = Literal["realtime", "fast"]
STALE = 2.0  # seconds after which a picture is no longer "now"
STARVED = 5.0  # seconds of nothing but such pictures after which one is handed on nevertheless
TELL = 10.0  # seconds between two notes about dropped pictures
_NOTES = 64  # notes of one source that may wait
_EARLY = 0.001  # seconds; many containers round their time stamps to milliseconds
_GAP = 1.5  # ticks; below that a picture came late, and its rate is kept on average


@dataclass
class _Lane:
    """Between one source's reader and the watch: the newest picture, and the notes before it."""

    source: Source
    picture: Frame | None = None
    notes: deque[SourceNote] = field(default_factory=lambda: deque(maxlen=_NOTES))
    drops: Counter[str] = field(default_factory=Counter)  # since the last note about them
    starving: float | None = None  # since when all that came was late
    slow: bool = False  # it was told that the source is read more slowly than it plays
    done: bool = False
    error: Refusal | None = None


class Feed:
    """Pictures at ``fps`` from each source, merged by time.

    ``fast`` reads stored sources one after the other's time, as fast as they are used: nothing is dropped, every run is alike.
    ``realtime`` gives each source a reader of its own and one place for its newest picture. A picture that is replaced there
    was dropped because the watch was busy; one that is older than 2 s when its turn comes, because it is late. Where all are
    late, as of a file that is decoded more slowly than it plays, one every 5 s is handed on. Files play from the clock's 0 on.

    Attributes:
        drops: source -> reason -> pictures that came and could not be used.
        thinned: source -> pictures left out because ``fps`` is lower than the source's.
    """

    def __init__(self, sources: Sequence[Source], *, pace: Pace, fps: float, clock: Clock) -> None:
        if pace == "fast" and any(source.live for source in sources):
            raise Refusal("--pace fast", "a live source comes at its own pace", "leave it out, or say --pace realtime")
        self._sources, self._pace, self._fps, self._clock = sources, pace, fps, clock
        self._stop, self._changed = threading.Event(), threading.Condition()
        self._lanes = [_Lane(source) for source in sources]
        self.drops: dict[str, Counter[str]] = {source.name: Counter() for source in sources}
        self.thinned: Counter[str] = Counter()
        self._told = 0.0

    def items(self) -> Iterator[Frame | SourceNote]:
        """Everything in the order of time; once.

        Raises:
            Refusal: a source turns out to be nothing that can be watched.
        """
        return self._fast() if self._pace == "fast" else self._realtime()

    def close(self) -> None:
        """End `items` soon. May be called from another thread, and more than once."""
        self._stop.set()
        for source in self._sources:
            source.close()
        with self._changed:
            self._changed.notify_all()

    # -- fast -----------------------------------------------------------------------------------------------------

    def _fast(self) -> Iterator[Frame | SourceNote]:
        streams = [self._thin(source) for source in self._sources]
        for item in heapq.merge(*streams, key=lambda each: each.time):
            if self._stop.is_set():
                return
            yield item

    def _thin(self, source: Source) -> Iterator[Frame | SourceNote]:
        """The first picture at or after each tick of the grid ``0, 1 / fps, 2 / fps, …``; a gap is not made up for."""
        tick = 0
        for item in source.items():
            if isinstance(item, Frame):
                if (item.time + _EARLY) * self._fps < tick:
                    self.thinned[source.name] += 1
                    continue
                late = item.time * self._fps - tick
                tick += 1 if late < _GAP else int(late) + 1
            yield item

    # -- real time ------------------------------------------------------------------------------------------------

    def _realtime(self) -> Iterator[Frame | SourceNote]:
        readers = [
            threading.Thread(target=self._read, args=(lane,), name=f"serval-{lane.source.name}", daemon=True)
            for lane in self._lanes
        ]
        for reader in readers:
            reader.start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._is_due, timeout=1.0)
                    item, error = self._take()
                    finished = all(lane.done and not _ready(lane) for lane in self._lanes)
                ended = finished or error is not None or self._stop.is_set()
                if item is not None and not self._stop.is_set():
                    yield item
                yield from self._tell_drops(final=ended)
                if error is not None:
                    raise error
                if ended:
                    return
        finally:
            self.close()
            for reader in readers:
                reader.join(5.0)

    def _is_due(self) -> bool:
        return self._stop.is_set() or any(map(_ready, self._lanes)) or all(lane.done for lane in self._lanes)

    def _take(self) -> tuple[Frame | SourceNote | None, Refusal | None]:
        """The oldest of what waits. One at a time, so that the others can still be replaced by something newer."""
        for lane in self._lanes:
            if lane.error is not None:
                return None, lane.error
            now = self._clock.now()
            if lane.picture is not None and now - lane.picture.time > STALE:
                lane.starving = now if lane.starving is None else lane.starving
                if now - lane.starving < STARVED:
                    self._drop(lane, "late")
                    lane.picture = None
        waiting = [lane for lane in self._lanes if _ready(lane)]
        if not waiting:
            return None, None
        lane = min(waiting, key=_oldest)
        if lane.picture is not None and not (lane.notes and lane.notes[0].time <= lane.picture.time):
            picture, lane.picture, lane.starving = lane.picture, None, None
            return picture, None
        return lane.notes.popleft(), None

    def _read(self, lane: _Lane) -> None:
        try:
            for item in self._thin(lane.source):
                if not lane.source.live and self._clock.sleep(item.time - self._clock.now(), self._stop):
                    return
                with self._changed:
                    if not lane.source.live:
                        self._tell_slow(lane, item.time)
                    if isinstance(item, SourceNote):
                        lane.notes.append(item)
                    else:
                        if lane.picture is not None:
                            self._drop(lane, "busy")
                        lane.picture = item
                    self._changed.notify_all()
                if self._stop.is_set():
                    return
        except Refusal as refusal:
            lane.error = refusal
        except Exception as error:  # a reader that fails must not leave the watch waiting for it
            where = "".join(
                traceback.format_tb(error.__traceback__)
            )  # never its text: that may hold an address with a password
            log.error("reading %s failed: %s\n%s", lane.source.name, type(error).__name__, where)
            lane.notes.append(
                _note(lane, NoteKind.BROKEN, self._clock.now(), f"{lane.source.name} cannot be read any further", {})
            )
        finally:
            with self._changed:
                lane.done = True
                self._changed.notify_all()

    def _tell_slow(self, lane: _Lane, time: float) -> None:
        now = self._clock.now()
        if now - time > STALE and not lane.slow:
            lane.slow = True
            text = f"{lane.source.name} is read more slowly than it plays; most of it cannot be watched at its own pace"
            lane.notes.append(_note(lane, NoteKind.STALLED, now, text, {"behind": round(now - time, 3)}))

    def _drop(self, lane: _Lane, reason: str) -> None:
        lane.drops[reason] += 1
        self.drops[lane.source.name][reason] += 1

    def _tell_drops(self, final: bool) -> Iterator[SourceNote]:
        now = self._clock.now()
        if not final and now - self._told < TELL:
            return
        with self._changed:
            counts = [(lane, dict(lane.drops)) for lane in self._lanes if lane.drops]
            for lane, _ in counts:
                lane.drops.clear()
        if counts:
            self._told = now
        for lane, drops in counts:
            total = sum(drops.values())
            counted = f"{total} picture{'s' if total > 1 else ''}"
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(drops.items()))
            text = f"{lane.source.name}: {counted} could not be used in time ({reasons})"
            yield _note(lane, NoteKind.DROPPED, now, text, {"drops": drops})


def _ready(lane: _Lane) -> bool:
    return bool(lane.picture is not None or lane.notes or lane.error)


def _oldest(lane: _Lane) -> float:
    times = [lane.notes[0].time] if lane.notes else []
    return min([*times, lane.picture.time] if lane.picture is not None else times)


def _note(lane: _Lane, kind: NoteKind, time: float, text: str, data: dict[str, object]) -> SourceNote:
    return SourceNote(kind, lane.source.name, time, text, data)
