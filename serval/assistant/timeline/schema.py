"""Tables of the timeline, the same in SQLite and PostgreSQL, and of the recording, which is always SQLite."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

from serval.refusal import Refusal

SCHEMA_VERSION = 1

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in a column of exactly this type

tables = MetaData()

meta = Table("meta", tables, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

starts = Table("starts", tables, Column("seq", _SERIAL, primary_key=True), Column("body", Text, nullable=False))

events = Table(
    "events",
    tables,
    Column("seq", _SERIAL, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("instruction", Text),
    Column("t_start", Double, nullable=False),
    Column("t_end", Double, nullable=False),
    Column("said_at", Double, nullable=False),
    Column("words", Text, nullable=False),  # what a text search looks in, case-folded
    Column("body", Text, nullable=False),  # the whole event, JSON
    Index("events_by_time", "said_at", "seq"),
    sqlite_autoincrement=True,
)

trace = Table(
    "trace",
    tables,
    Column("seq", _SERIAL, primary_key=True),
    Column("time", Double, nullable=False),
    Column("source", Text, nullable=False),
    Column("index", _SERIAL, nullable=False),
    Column("instruction", Text),
    Column("gate", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("action", Text, nullable=False),
    Column("why", Text, nullable=False),
    Index("trace_by_time", "time"),
    sqlite_autoincrement=True,
)


RECORDING_VERSION = 1

recording = MetaData()

Table("meta", recording, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

frames = Table(
    "frames",
    recording,
    Column("seq", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("time", Double, nullable=False),
    Column("luma", LargeBinary, nullable=False),  # 36 rows of 64 bytes, zlib
    Column("examined", Integer, nullable=False),
    Column("batch", Integer, nullable=False, index=True),
    UniqueConstraint("source", "index"),
    sqlite_autoincrement=True,
)

percepts = Table(
    "percepts",
    recording,
    Column("seq", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("time", Double, nullable=False),
    Column("key", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # see `packing`
    Column("batch", Integer, nullable=False, index=True),
    UniqueConstraint("source", "index", "key"),
    sqlite_autoincrement=True,
)

pictures = Table(
    "pictures",
    recording,
    Column("seq", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("time", Double, nullable=False),
    Column("sha256", Text, nullable=False, index=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("jpeg", LargeBinary, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("keyframe", Integer, nullable=False),
    Column("batch", Integer, nullable=False),
    UniqueConstraint("source", "index", "sha256"),
    Index("pictures_by_keyframe", "keyframe", "batch", "bytes"),
    sqlite_autoincrement=True,
)

evicted = Table(
    "evicted",
    recording,
    Column("source", Text, primary_key=True),
    Column("frames", Integer, nullable=False),
    Column("percepts", Integer, nullable=False),
    Column("pictures", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
)


def insert(connection: Connection, table: Table) -> SqliteInsert | PostgresqlInsert:
    """An insert that knows ``ON CONFLICT``, in this connection's dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def prepare(connection: Connection, name: str, metadata: MetaData, version: int, *, write: bool) -> None:
    """Make the tables in an empty database, or check that those present are ones this Serval can read.

    Raises:
        Refusal: written by a newer Serval, or not a database of this kind.
    """
    schema = (connection.get_execution_options().get("schema_translate_map") or {}).get(None)
    present = set(inspect(connection).get_table_names(schema=schema))
    expected = set(metadata.tables)
    table = metadata.tables["meta"]
    if write and not present & expected:
        metadata.create_all(connection)
        connection.execute(table.insert().values(key="schema_version", value=str(version)))
        return
    found = None
    if "meta" in present:
        found = connection.execute(select(table.c.value).where(table.c.key == "schema_version")).scalar_one_or_none()
    if found is None or not found.isdecimal():
        raise Refusal(name, "it was not written by Serval", "choose another run folder")
    if int(found) > version:
        raise Refusal(name, f"a newer Serval wrote it (schema {found}, this one knows {version})", "upgrade Serval")
    if not expected <= present:
        raise Refusal(name, "tables are missing from it", "restore it from a copy, or choose another run folder")
