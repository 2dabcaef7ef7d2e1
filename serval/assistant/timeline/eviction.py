"""Keeping a recording below its cap: the oldest second goes first, keyframes last, and every loss is put on account."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, func, literal, select

from serval.assistant.timeline.schema import evicted, frames, insert, percepts, pictures

PAGE_BYTES = 4096


@dataclass(frozen=True)
class Evicted:
    """What the cap has cost one source: how much of what, and the time it lies in."""

    source: str
    frames: int
    percepts: int
    pictures: int
    bytes: int
    since: float
    until: float


def make_room(connection: Connection, pages: int, need: int) -> None:
    """Evict until ``need`` more bytes fit into ``pages`` pages of the file, or nothing is left to evict."""
    needed = need * 5 // 4 // PAGE_BYTES + 16  # rows do not fill their pages, and indexes grow
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    while _used(connection) + needed > pages and _forget(connection, pages * PAGE_BYTES // 2):
        pass


def _used(connection: Connection) -> int:
    count, free = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "freelist_count"))
    return int(count - free)


def _forget(connection: Connection, keyframe_bytes: int) -> bool:
    """Evict the oldest second, or the oldest keyframe when these take too much or nothing else is left."""
    picture = pictures.c
    held = connection.execute(select(func.sum(picture.bytes)).where(picture.keyframe == 1)).scalar_one() or 0
    oldest = [
        connection.execute(query).scalar_one()
        for query in (
            select(func.min(frames.c.batch)),
            select(func.min(percepts.c.batch)),
            select(func.min(picture.batch)).where(picture.keyframe == 0),
        )
    ]
    batch = min((each for each in oldest if each is not None), default=None)
    if batch is None or held > keyframe_bytes:
        seq = connection.execute(select(func.min(picture.seq)).where(picture.keyframe == 1)).scalar_one()
        if seq is None:
            return False
        _evict(connection, pictures, pictures.c.jpeg, picture.seq == seq)
        return True
    _evict(connection, frames, frames.c.luma, frames.c.batch == batch)
    _evict(connection, percepts, percepts.c.body, percepts.c.batch == batch)
    _evict(connection, pictures, pictures.c.jpeg, (picture.batch == batch) & (picture.keyframe == 0))
    return True


def _evict(connection: Connection, table: Table, blob: ColumnElement[bytes], which: ColumnElement[bool]) -> None:
    """Delete rows and add them to the account of their source."""
    counts = [func.count() if each is table else literal(0) for each in (frames, percepts, pictures)]
    gone = select(table.c.source, *counts, func.sum(func.length(blob)), func.min(table.c.time), func.max(table.c.time))
    for row in connection.execute(gone.where(which).group_by(table.c.source)).all():
        query = insert(connection, evicted).values(astuple(Evicted(*row)))
        old, new = evicted.c, query.excluded
        sums = {name: old[name] + new[name] for name in ("frames", "percepts", "pictures", "bytes")}
        span = {"since": func.min(old.since, new.since), "until": func.max(old.until, new.until)}
        connection.execute(query.on_conflict_do_update(index_elements=["source"], set_=sums | span))
    connection.execute(delete(table).where(which))
