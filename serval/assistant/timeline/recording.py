"""The recording of a run: everything its decisions were made from, so that it can be decided again.

Every admitted frame leaves its time and its small grey picture; every examined one what the encoders saw, and a JPEG.
The file never outgrows its cap: the oldest second goes first, pictures that events rest on go last, and a row for each
source says what has gone.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Select, func, select, update

from serval.assistant.timeline import schema
from serval.assistant.timeline.database import open_sqlite, told_plainly
from serval.assistant.timeline.eviction import PAGE_BYTES, Evicted, make_room
from serval.assistant.timeline.packing import pack, unpack
from serval.assistant.timeline.picture import Picture
from serval.encoders.percept import Looks, Percept
from serval.media.frame import LUMA_SIZE, Frame
from serval.refusal import Refusal

FILE = "recording.sqlite"
_EXAMINED = "examined"  # key of the percept that the gates decided from; closer looks are keyed by what they looked for


@dataclass(frozen=True)
class Admitted:
    """A frame that was taken into the run, examined or not."""

    source: str
    index: int
    time: float
    luma: NDArray[np.uint8]  # [36, 64]
    examined: bool


class Recording:
    """What a run saw, in ``recording.sqlite``. Safe to share between threads; others may read while it is written.

    Rows are written in batches: whatever kills the process, the file is whole up to the last one. Every method raises
    `Refusal` when the disk is full, the file locked or damaged; a batch that could not be written is given up.
    """

    def __init__(self, engine: Engine, name: str, *, megabytes: float, flush_seconds: float) -> None:
        budget = int(megabytes * (1 << 20))
        self.name = name
        self._engine, self._reading = engine, engine.execution_options(reading=True)
        self._flush_seconds, self._flush_bytes = flush_seconds, _slice(budget)
        self._pages = (budget - 3 * _slice(budget)) // PAGE_BYTES  # the log beside the file takes up to two slices
        self._frames: list[dict[str, Any]] = []
        self._percepts: list[dict[str, Any]] = []
        self._pictures: list[dict[str, Any]] = []
        self._kept: set[str] = set()
        self._waiting, self._flushed_at, self._batch = 0, time.monotonic(), 0
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        write: bool = True,
        wait: float = 5.0,
        megabytes: float = 1024.0,
        flush_seconds: float = 1.0,
    ) -> Recording:
        """Open the recording in a run folder.

        Args:
            write: make it if it is missing; otherwise only read, also from a read-only folder.
            wait: seconds to wait for another program's lock.
            megabytes: cap on the disk it takes, at least 8; what is oldest is evicted to stay below it.
            flush_seconds: how long rows wait to be written at most, while frames come.
        """
        if megabytes < 8:
            raise Refusal(f"{megabytes:g} MB for the recording", "this is too little", "give it at least 8 MB")
        path = Path(folder) / FILE
        budget = int(megabytes * (1 << 20))
        pragmas = {"wal_autocheckpoint": _slice(budget) // PAGE_BYTES, "journal_size_limit": _slice(budget)}
        engine = open_sqlite(path, write=write, wait=wait, synchronous="NORMAL", pragmas=pragmas)
        recording = cls(engine, str(path), megabytes=megabytes, flush_seconds=flush_seconds)
        try:
            with told_plainly(str(path)), engine.execution_options(reading=not write).begin() as connection:
                schema.prepare(connection, str(path), schema.recording, schema.RECORDING_VERSION, write=write)
                batches = [select(func.max(table.c.batch)) for table in (schema.frames, schema.percepts, schema.pictures)]
                recording._batch = max(connection.execute(query).scalar_one() or 0 for query in batches)
        except BaseException:
            engine.dispose()
            raise
        return recording

    def close(self) -> None:
        """Write what waits and let go of the file."""
        try:
            self.flush()
        finally:
            self._engine.dispose()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    def add(self, frame: Frame, percept: Percept, looks: Looks) -> None:
        """Note an admitted frame; when ``looks`` asked for anything, also what was seen and the picture."""
        luma = zlib.compress(np.ascontiguousarray(frame.luma).tobytes(), 6)
        row = {"source": frame.source, "index": frame.index, "time": frame.time, "luma": luma, "examined": int(bool(looks))}
        with self._lock:
            self._frames.append(row)
            self._waiting += len(luma)
            if looks:
                self._add_percept(frame, percept, _EXAMINED)
                self._add_picture(frame, keyframe=False)
            self._flush_if_due()

    def add_deep(self, frame: Frame, percept: Percept, looks: Looks) -> None:
        """Note a closer look at a frame, which makes it a keyframe."""
        with self._lock:
            self._add_percept(frame, percept, _key(looks))
            self._add_picture(frame, keyframe=True)
            self._flush_if_due()

    def keep(self, names: Iterable[str]) -> None:
        """Make keyframes of the pictures with these sha256 names, so that they are evicted last."""
        with self._lock:
            self._kept.update(name for name in names if name)
            self._flush_if_due()

    def _add_percept(self, frame: Frame, percept: Percept, key: str) -> None:
        body = pack(percept)
        self._percepts.append({"source": frame.source, "index": frame.index, "time": frame.time, "key": key, "body": body})
        self._waiting += len(body)

    def _add_picture(self, frame: Frame, *, keyframe: bool) -> None:
        picture = Picture.of(frame)
        self._pictures.append({**asdict(picture), "bytes": len(picture.jpeg), "keyframe": int(keyframe)})
        self._waiting += len(picture.jpeg)

    def _flush_if_due(self) -> None:
        if self._waiting >= self._flush_bytes or time.monotonic() - self._flushed_at >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one batch, after making room for it."""
        with self._lock:
            if not (self._frames or self._percepts or self._pictures or self._kept):
                return
            self._batch += 1
            try:
                with told_plainly(self.name), self._engine.begin() as connection:
                    make_room(connection, self._pages, self._waiting)
                    self._insert(connection)
            finally:
                for rows in (self._frames, self._percepts, self._pictures, self._kept):
                    rows.clear()
                self._waiting, self._flushed_at = 0, time.monotonic()

    def _insert(self, connection: Connection) -> None:
        batch = {"batch": self._batch}
        for table, rows in ((schema.frames, self._frames), (schema.percepts, self._percepts)):
            if rows:
                connection.execute(table.insert().prefix_with("OR REPLACE"), [row | batch for row in rows])
        if self._pictures:
            query = schema.insert(connection, schema.pictures)
            keyframe = func.max(schema.pictures.c.keyframe, query.excluded.keyframe)
            columns = ["source", "index", "sha256"]
            query = query.on_conflict_do_update(index_elements=columns, set_={"keyframe": keyframe})
            connection.execute(query, [row | batch for row in self._pictures])
        if self._kept:
            named = schema.pictures.c.sha256.in_(self._kept)
            connection.execute(update(schema.pictures).where(named).values(keyframe=1))

    # -- reading ------------------------------------------------------------------------------------------------------

    def frames(
        self, *, source: str | None = None, since: float | None = None, until: float | None = None
    ) -> Iterator[Admitted]:
        """Admitted frames in the order they came, all sources mixed as they were, read a page at a time."""
        column = schema.frames.c
        query = select(column.seq, column.source, column.index, column.time, column.luma, column.examined)
        query = query.where(column.source == source) if source is not None else query
        query = query.where(column.time >= since) if since is not None else query
        query = query.where(column.time <= until) if until is not None else query
        width, height = LUMA_SIZE
        for _, name, index, moment, packed, examined in self._rows(query, column.seq, 500):
            try:
                luma = np.frombuffer(zlib.decompress(packed, bufsize=width * height), np.uint8).reshape(height, width)
            except (zlib.error, ValueError):
                raise self._damaged() from None
            yield Admitted(name, index, moment, luma, bool(examined))

    def percept(self, source: str, index: int) -> Percept | None:
        """What the gates decided from at this frame; None when it was not examined or is no longer kept."""
        return self._percept(source, index, _EXAMINED)

    def deep(self, source: str, index: int, looks: Looks) -> Percept | None:
        """What a closer look with exactly these ``looks`` saw; None when there was none or it is no longer kept."""
        return self._percept(source, index, _key(looks))

    def _percept(self, source: str, index: int, key: str) -> Percept | None:
        column = schema.percepts.c
        query = select(column.body).where(column.source == source, column.index == index, column.key == key)
        with self._lock, told_plainly(self.name):
            self.flush()
            with self._reading.connect() as connection:
                body = connection.execute(query).scalar_one_or_none()
        try:
            return None if body is None else unpack(body)
        except ValueError:
            raise self._damaged() from None

    def picture(self, source: str, index: int) -> Picture | None:
        """The JPEG of a frame; None when it was not examined or is no longer kept."""
        column = schema.pictures.c
        return next(self._picture_rows((column.source == source) & (column.index == index)), None)

    def picture_named(self, sha256: str) -> Picture | None:
        """The JPEG of the frame that evidence calls ``sha256``."""
        return next(self._picture_rows(schema.pictures.c.sha256 == sha256), None)

    def pictures(self, *, keyframes: bool | None = None, source: str | None = None, since: float = 0.0) -> Iterator[Picture]:
        """Kept pictures in the order they came, a few in memory at a time; only (or no) keyframes when told so."""
        column = schema.pictures.c
        which = column.time >= since
        which = which if keyframes is None else which & (column.keyframe == int(keyframes))
        yield from self._picture_rows(which if source is None else which & (column.source == source))

    def _picture_rows(self, which: Any) -> Iterator[Picture]:
        columns = [schema.pictures.c[field.name] for field in fields(Picture)]
        query = select(schema.pictures.c.seq, *columns).where(which)
        for row in self._rows(query, schema.pictures.c.seq, 8):
            yield Picture(*row[1:])

    def evicted(self) -> tuple[Evicted, ...]:
        """What is no longer there, for each source that lost anything."""
        with told_plainly(self.name), self._reading.connect() as connection:
            return tuple(Evicted(*row) for row in connection.execute(select(schema.evicted).order_by(schema.evicted.c.source)))

    def _rows(self, query: Select[Any], seq: Any, page: int) -> Iterator[Any]:
        self.flush()
        after = -1
        while True:
            with told_plainly(self.name), self._reading.connect() as connection:
                rows = connection.execute(query.where(seq > after).order_by(seq).limit(page)).all()
            yield from rows
            if len(rows) < page:
                return
            after = rows[-1][0]

    def _damaged(self) -> Refusal:
        return Refusal(self.name, "an entry in it is damaged", "restore it from a copy, or record the run again")


def _key(looks: Looks) -> str:
    return "+".join(name for name, wanted in asdict(looks).items() if wanted)


def _slice(budget: int) -> int:
    """Bytes that a batch or the log beside the file may take: an eighth of the budget, 4 MB at most."""
    return min(4 << 20, budget // 8)
