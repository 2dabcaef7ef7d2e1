"""The timeline of a run: every event, durable before it is shown, and what the gates saw when nothing was said."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack

from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, Connection, Engine, Select, delete, func, select

from serval.assistant.event import Event
from serval.assistant.timeline import schema
from serval.assistant.timeline.database import open_postgresql, open_sqlite, told_plainly
from serval.assistant.timeline.run import RunInfo
from serval.assistant.timeline.search import Wanted, conditions, words
from serval.assistant.timeline.trace import TraceRow as TraceRow
from serval.assistant.timeline.trace import Trimmed as Trimmed
from serval.refusal import Refusal

FILE = "timeline.sqlite"
_PAGE = 500  # rows read at a time, so that no reader holds a whole run


class Timeline:
    """Events and gate trace of one run. Safe to share between threads; other processes may read while it is written.

    Every method raises `Refusal` when the disk is full, the file locked or damaged, or the server gone.
    """

    def __init__(self, engine: Engine, name: str, *, trace_rows: int, flush_rows: int, flush_seconds: float) -> None:
        if min(trace_rows, flush_rows) < 1:
            raise ValueError("trace_rows and flush_rows must be at least 1")
        self.name = name
        self._engine, self._reading = engine, engine.execution_options(reading=True)
        self._trace_rows, self._flush_rows, self._flush_seconds = trace_rows, flush_rows, flush_seconds
        self._pending: list[TraceRow] = []
        self._flushed_at = time.monotonic()
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        where: Path | str,
        *,
        write: bool = True,
        wait: float = 5.0,
        trace_rows: int = 500_000,
        flush_rows: int = 256,
        flush_seconds: float = 1.0,
    ) -> Timeline:
        """Open the timeline of a run folder (SQLite), or of a ``postgresql://…?run=NAME`` address.

        Args:
            write: make the timeline if it is missing; otherwise only read, also from a read-only folder.
            wait: seconds to wait for another program's lock.
            trace_rows: how many rows of gate trace to keep; the oldest go first, and `trimmed` says how many went.
            flush_rows, flush_seconds: trace rows are written when so many wait, or when the first has waited so long.

        Raises:
            Refusal: missing, locked, damaged, written by a newer Serval, or out of reach.
        """
        if isinstance(where, str) and "://" in where:
            engine, name = open_postgresql(where, write=write, wait=wait)
        else:
            path = Path(where) / FILE
            name = str(path)
            engine = open_sqlite(path, write=write, wait=wait, synchronous="FULL")
        try:
            with told_plainly(name), engine.execution_options(reading=not write).begin() as connection:
                schema.prepare(connection, name, schema.tables, schema.SCHEMA_VERSION, write=write)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, name, trace_rows=trace_rows, flush_rows=flush_rows, flush_seconds=flush_seconds)

    def close(self) -> None:
        """Write what waits and let go of the file."""
        try:
            self.flush()
        finally:
            self._engine.dispose()

    def __enter__(self) -> Timeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self, info: RunInfo) -> None:
        """Note what this run is made of. A run taken up again notes another start."""
        with self._writing() as connection:
            connection.execute(schema.starts.insert().values(body=info.model_dump_json()))

    @property
    def info(self) -> RunInfo | None:
        """What the run was last started with."""
        body = self._one(select(schema.starts.c.body).order_by(schema.starts.c.seq.desc()).limit(1))
        return None if body is None else _parsed(RunInfo, body, self.name)

    # -- events -------------------------------------------------------------------------------------------------------

    def add(self, event: Event) -> bool:
        """Write an event, and the trace that waits, in one durable step. False when it was there already.

        Raises:
            ValueError: another event has this id, or its numbers are not finite.
        """
        row = event.model_dump(mode="json")
        body = json.dumps(row, allow_nan=False)
        columns = {key: row[key] for key in ("id", "kind", "source", "instruction", "t_start", "t_end", "said_at")}
        with self._writing() as connection:
            query = schema.insert(connection, schema.events).values(**columns, words=words(event), body=body)
            added = connection.execute(query.on_conflict_do_nothing().returning(schema.events.c.seq)).scalar_one_or_none()
            if added is None:
                known = connection.execute(select(schema.events.c.body).where(schema.events.c.id == event.id)).scalar_one()
                if json.loads(known) != json.loads(body):
                    raise ValueError(f"another event has the id {event.id!r}")
        return added is not None

    def events(self, *, limit: int | None = None, newest_first: bool = False, **wanted: Unpack[Wanted]) -> Iterator[Event]:
        """Events in the order they were said, read a page at a time; which ones, `Wanted` tells."""
        table = schema.events
        query = select(table.c.said_at, table.c.seq, table.c.body).where(*conditions(wanted))
        for row in self._pages(query, (table.c.said_at, table.c.seq), limit, newest_first):
            yield _parsed(Event, row[2], self.name)

    def count(self, **wanted: Unpack[Wanted]) -> int:
        """How many events `events` would give."""
        return int(self._one(select(func.count()).select_from(schema.events).where(*conditions(wanted))))

    def sources(self) -> tuple[str, ...]:
        """Names of the sources that the run was started with, or that left anything here."""
        names = {source.name for source in self.info.sources} if self.info else set()
        return tuple(sorted(names | self._named("source")))

    def instructions(self) -> tuple[str, ...]:
        """Ids of the instructions that left anything here."""
        return tuple(sorted(self._named("instruction")))

    def _named(self, column: str) -> set[str]:
        queries = [select(table.c[column]).distinct() for table in (schema.events, schema.trace)]
        with told_plainly(self.name), self._reading.connect() as connection:
            return {name for query in queries for name in connection.execute(query).scalars() if name is not None}

    def event(self, id: str) -> Event | None:  # noqa: A002 - it is called so on the event
        body = self._one(select(schema.events.c.body).where(schema.events.c.id == id))
        return None if body is None else _parsed(Event, body, self.name)

    # -- gate trace ---------------------------------------------------------------------------------------------------

    def trace(self, row: TraceRow) -> None:
        """Note what a gate saw; written with the next batch or event.

        Raises:
            ValueError: a number in it is not finite.
        """
        if not math.isfinite(row.time + row.score + row.threshold):
            raise ValueError(f"gate {row.gate!r} gave a number that is not finite")
        with self._lock:
            self._pending.append(row)
            due = len(self._pending) >= self._flush_rows or time.monotonic() - self._flushed_at >= self._flush_seconds
            if due:
                self.flush()

    def flush(self) -> None:
        """Write the trace that waits. When that fails the newest ``flush_rows`` rows wait for the next try."""
        with self._lock:
            if not self._pending:
                return
            try:
                with self._writing():
                    pass
            except Refusal:
                self._pending = self._pending[-self._flush_rows :]
                self._flushed_at = time.monotonic()
                raise

    def traced(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        source: str | None = None,
        instruction: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[TraceRow]:
        """Gate trace in the order of time, read a page at a time."""
        self.flush()
        table = schema.trace
        wanted: list[ColumnElement[bool]] = []
        if since is not None:
            wanted.append(table.c.time >= since)
        if until is not None:
            wanted.append(table.c.time <= until)
        if source is not None:
            wanted.append(table.c.source == source)
        if instruction is not None:
            wanted.append(table.c.instruction == instruction)
        columns = [table.c[name] for name in TraceRow.__dataclass_fields__]
        query = select(table.c.time, table.c.seq, *columns).where(*wanted)
        for row in self._pages(query, (table.c.time, table.c.seq), limit, newest_first):
            yield TraceRow(*row[2:])

    def trace_count(self, source: str | None = None) -> int:
        """How many rows of gate trace are kept, of one source or all."""
        self.flush()
        query = select(func.count()).select_from(schema.trace)
        return int(self._one(query if source is None else query.where(schema.trace.c.source == source)))

    def span(self) -> tuple[float, float] | None:
        """First and last second of the run that left anything here."""
        self.flush()
        event, row = schema.events.c, schema.trace.c
        times = [(event.t_start, event.t_end), (event.said_at, event.said_at), (row.time, row.time)]
        with told_plainly(self.name), self._reading.connect() as connection:
            found = [connection.execute(select(func.min(first), func.max(last))).one() for first, last in times]
        ends = [(first, last) for first, last in found if first is not None]
        return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None

    @property
    def trimmed(self) -> Trimmed | None:
        """What the cap on trace rows has cost so far; None when nothing."""
        value = self._one(select(schema.meta.c.value).where(schema.meta.c.key == "trimmed"))
        return None if value is None else Trimmed(**json.loads(value))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _one(self, query: Select[Any]) -> Any:
        """The one value that ``query`` finds, or None."""
        with told_plainly(self.name), self._reading.connect() as connection:
            return connection.execute(query).scalar_one_or_none()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One durable transaction, which also takes along the trace that waits."""
        with self._lock:
            waiting = len(self._pending)
            with told_plainly(self.name), self._engine.begin() as connection:
                if waiting:
                    self._write_trace(connection, self._pending)
                yield connection
            del self._pending[:waiting]
            self._flushed_at = time.monotonic()

    def _write_trace(self, connection: Connection, rows: Sequence[TraceRow]) -> None:
        connection.execute(schema.trace.insert(), [asdict(row) for row in rows])
        oldest = select(func.max(schema.trace.c.seq) - self._trace_rows).scalar_subquery()
        over = schema.trace.c.seq <= oldest
        count, until = connection.execute(select(func.count(), func.max(schema.trace.c.time)).where(over)).one()
        if not count:
            return
        connection.execute(delete(schema.trace).where(over))
        before = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == "trimmed")).scalar_one_or_none()
        known = Trimmed(**json.loads(before)) if before else Trimmed(0, until)
        value = json.dumps(asdict(Trimmed(known.rows + count, max(known.until, until))))
        query = schema.insert(connection, schema.meta).values(key="trimmed", value=value)
        connection.execute(query.on_conflict_do_update(index_elements=["key"], set_={"value": value}))

    def _pages(
        self, query: Select[Any], order: Sequence[ColumnElement[Any]], limit: int | None, newest_first: bool
    ) -> Iterator[Any]:
        """Rows of ``query``, whose first two columns are ``order``, each page in a transaction of its own."""
        first, second = order
        query = query.order_by(*(column.desc() if newest_first else column for column in order))
        after: tuple[float, int] | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            page = query.limit(int(min(_PAGE, left)))
            if after is not None:
                time_, seq = after
                later = (first < time_) if newest_first else (first > time_)
                beside = (second < seq) if newest_first else (second > seq)
                page = page.where(later | ((first == time_) & beside))
            with told_plainly(self.name), self._reading.connect() as connection:
                rows = connection.execute(page).all()
            yield from rows
            if len(rows) < min(_PAGE, left):
                return
            left -= len(rows)
            after = (rows[-1][0], rows[-1][1])


_Model = TypeVar("_Model", bound=BaseModel)


def _parsed(model: type[_Model], body: str, name: str) -> _Model:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        raise Refusal(name, "an entry in it is damaged", "restore it from a copy") from None
