"""Opening SQLite files and PostgreSQL databases so that what is written survives, and faults are told in one line."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from serval.refusal import Refusal

_FAULTS = {  # beginnings of SQLite's error names, and of PostgreSQL's SQLSTATEs
    "SQLITE_FULL": ("the disk is full", "free some space and start again"),
    "SQLITE_BUSY": ("another program holds it locked", "close that program and try again"),
    "SQLITE_LOCKED": ("another program holds it locked", "close that program and try again"),
    "SQLITE_CORRUPT": ("the file is damaged", "restore it from a copy, or choose another run folder"),
    "SQLITE_NOTADB": ("this is not a database file", "choose another run folder"),
    "SQLITE_READONLY": ("it cannot be written to", "allow writing to the run folder, or choose another"),
    "SQLITE_PERM": ("it cannot be opened", "allow access to the run folder, or choose another"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "allow access to the run folder, or choose another"),
    "SQLITE_IOERR": ("the disk fails or is full", "check the disk and its free space"),
    "53100": ("the database server's disk is full", "free some space there"),
    "55P03": ("another program holds it locked", "close that program and try again"),
    "25006": ("the database is read-only", "use a server that takes writes"),
    "42501": ("this user may not do that", "grant the database user its own schema"),
    "42P01": ("it holds no timeline", "name the run with ?run=NAME"),
}


@contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """Turn what the database driver raises into a `Refusal` about ``name``; the driver's own words never get out."""
    try:
        yield
    except DBAPIError as error:
        raise _refusal(name, error.orig) from None
    except sqlite3.Error as error:  # raised while a connection is being set up
        raise _refusal(name, error) from None


def _refusal(name: str, error: BaseException | None) -> Refusal:
    code = str(getattr(error, "sqlite_errorname", "") or getattr(error, "sqlstate", "") or "")
    for start, (why, remedy) in _FAULTS.items():
        if code.startswith(start):
            return Refusal(name, why, remedy)
    if isinstance(error, sqlite3.Error):
        return Refusal(name, f"the database reports {code or type(error).__name__}", "check the disk and the file")
    return Refusal(name, "the database server cannot be reached or refuses", "check its address, user and password")


def open_sqlite(
    path: Path,
    *,
    write: bool,
    wait: float,
    synchronous: Literal["FULL", "NORMAL"],
    pragmas: Mapping[str, int] | None = None,
) -> Engine:
    """An engine on one SQLite file in write-ahead mode; transactions begin `IMMEDIATE` unless `reading`.

    Args:
        write: create the file when missing. Otherwise it is opened read-only, also from a read-only folder.
        wait: seconds to wait for another program's lock.
        pragmas: more settings of a file that is written.
        synchronous: ``FULL`` makes each commit survive a power cut, ``NORMAL`` only the end of this process.
    """
    if write:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(str(path.parent), "the run folder cannot be made", (error.strerror or "").casefold()) from None
    elif not path.is_file():
        raise Refusal(str(path), "there is no such file", "name the folder of a run, as given to `serval watch --run`")
    settings = {"journal_mode": "WAL", "synchronous": synchronous, **(pragmas or {})} if write else {}

    def connect() -> sqlite3.Connection:
        modes = ["mode=rwc"] if write else ["mode=ro"]
        if not write and not _has_rows(path.with_name(path.name + "-wal")):
            modes.append("mode=ro&immutable=1")  # a read-only folder cannot take the lock files of the first
        for last, mode in enumerate(modes, start=1 - len(modes)):
            connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?{mode}",
                uri=True,
                timeout=wait,
                check_same_thread=False,
                isolation_level=None,
            )
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                for key, value in settings.items():
                    connection.execute(f"PRAGMA {key} = {value}").fetchone()
            except sqlite3.Error as error:
                connection.close()
                if last == 0 or not str(error.sqlite_errorname).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                    raise
            else:
                return connection
        raise AssertionError("the last mode returns or raises")

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _has_rows(write_ahead_log: Path) -> bool:
    try:
        return write_ahead_log.stat().st_size > 0
    except OSError:
        return False


def drop_postgresql(address: str) -> None:
    """Forget one run of a database, all of it. Raises `Refusal` as `open_postgresql`."""
    engine, name = open_postgresql(address, write=False, wait=5.0)
    run = make_url(address).query.get("run", "public")
    try:
        with told_plainly(name), engine.begin() as connection:
            connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{run}" CASCADE')
    finally:
        engine.dispose()


def open_postgresql(address: str, *, write: bool, wait: float) -> tuple[Engine, str]:
    """An engine on one run in a PostgreSQL database, and the address without its password.

    ``postgresql://user@host/database?run=NAME`` keeps each run in a schema of its own, ``public`` when none is named.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise Refusal("database address", "it cannot be read", "write postgresql://user@host/database?run=NAME") from None
    run = url.query.get("run", "public")
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() != "postgresql":
        raise Refusal(name, "only PostgreSQL is reached by address", "write postgresql://user@host/database?run=NAME")
    if not isinstance(run, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", run):
        raise Refusal(name, "the run's name is not plain", "use lower-case letters, digits and _ in ?run=NAME")
    url = url.set(drivername="postgresql+psycopg").difference_update_query(["run"])
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": max(2, round(wait))})
    except ModuleNotFoundError:
        raise Refusal(name, "the PostgreSQL client is not installed", 'pip install "serval[postgresql]"') from None
    if write and run != "public":
        with told_plainly(name), engine.begin() as connection:
            connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{run}"')
    return engine.execution_options(schema_translate_map={None: run}), name
