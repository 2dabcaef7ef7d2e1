"""How records lie in a file: one after another, or inside an object. Either is read record by record."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from serval.data.formats.record import Record
from serval.data.json_stream import members, parse, parse_member
from serval.data.limits import DataLimits
from serval.media.limits import MediaLimits
from serval.media.local_file import open_regular, printable
from serval.refusal import Refusal


@dataclass(frozen=True)
class Header:
    """What a file of a format says beside its records, and in which of its members they are, where that is not a list."""

    format: str = ""
    fields: Record = field(default_factory=dict)
    at: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Entry:
    """A record of a file: where it is, for people, and how to read it."""

    where: str
    load: Callable[[], Any]


class Records(Protocol):
    """The records of a file."""

    def __iter__(self) -> Iterator[Entry]: ...

    def header(self) -> Header:
        """Reads to the file's end."""
        ...

    def index(self) -> Sequence[Entry]:
        """All of them by number, for some bytes of memory each. Reads to the file's end."""
        ...


class Layout(Protocol):
    """How records lie in a file."""

    def open(self, path: Path, limits: DataLimits) -> Records:
        """
        Raises:
            Refusal: there is no such file, or it is not a plain one.
        """
        ...

    def write(self, file: BinaryIO, lines: bool, records: Iterable[Record], header: Header) -> int:
        """Write a file; how many records there were. ``lines``: its name says that a record is a line."""
        ...


def open_data(path: Path, limits: DataLimits) -> BinaryIO:
    """A file's bytes, after its kind and size were checked."""
    return open_regular(path, MediaLimits(), limits.file)


def dumped(value: Any) -> bytes:
    """A value as JSON on one line.

    Raises:
        Refusal: it is none, or not Unicode.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise Refusal("record", f"it cannot be written ({str(error)[:80]})", "mend its texts and numbers") from None


@dataclass(frozen=True)
class Flat:
    """A list of records, or a record on each line; which of them a file shows.

    Attributes:
        lines: whether a file is lines whatever its name; without, only if its name says so.
        headed: the first line may be an object whose only member is ``header``.
    """

    lines: bool = False
    headed: bool = False

    def open(self, path: Path, limits: DataLimits) -> Records:
        with open_data(path, limits) as file:
            start = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if start == b"[":
            return Spans(path, limits)
        return _Lines(path, limits, self.headed)

    def write(self, file: BinaryIO, lines: bool, records: Iterable[Record], header: Header) -> int:
        lines = lines or self.lines
        if self.headed and (header.fields or header.at is not None):
            file.write(dumped({"header": {"format": header.format, "fields": header.fields, "at": header.at}}) + b"\n")
        count = 0
        for record in records:
            file.write((b"" if lines else b",\n" if count else b"[\n") + dumped(record) + (b"\n" if lines else b""))
            count += 1
        if not lines:
            file.write(b"\n]\n" if count else b"[]\n")
        return count


@dataclass(frozen=True)
class Tree:
    """Records in a list or an object that is a member of the file's object.

    Attributes:
        at: its name.
        keyed: it is an object; a record is ``{"key": its name, "value": what it says}``.
        bare: the file may be that object itself.
    """

    at: str
    keyed: bool = False
    bare: bool = False

    def open(self, path: Path, limits: DataLimits) -> Records:
        place = () if self.bare and _is_bare(path, limits, self.at) else (self.at,)
        return Spans(path, limits, place, keyed=self.keyed)

    def write(self, file: BinaryIO, lines: bool, records: Iterable[Record], header: Header) -> int:
        inside = not (self.bare and header.at == ())
        opening, closing = (b"{", b"}") if self.keyed else (b"[", b"]")
        if inside:
            file.write(b"{" + b"".join(dumped(name) + b":" + dumped(value) + b",\n" for name, value in header.fields.items()))
            file.write(dumped(self.at) + b":")
        file.write(opening)
        count = 0
        for record in records:
            text = dumped(record["key"]) + b":" + dumped(record["value"]) if self.keyed else dumped(record)
            file.write((b",\n" if count else b"\n") + text)
            count += 1
        file.write(b"\n" + closing + (b"}" if inside else b"") + b"\n")
        return count


def _is_bare(path: Path, limits: DataLimits, at: str) -> bool:
    """Whether the file's first member is an object that has not the records' name."""
    with open_data(path, limits) as file:
        for member in members(file, printable(path.name), limits, [(), (at,)]):
            return member.path[0] != at and member.raw.partition(b":")[2].lstrip()[:1] == b"{"
    return False


class Spans:
    """Records that are stretches of one JSON value."""

    def __init__(self, path: Path, limits: DataLimits, at: tuple[str, ...] = (), keyed: bool = False) -> None:
        self._path, self._limits, self._at, self._keyed = path, limits, at, keyed
        self._what = printable(path.name)

    def __iter__(self) -> Iterator[Entry]:
        for number, (_, raw) in enumerate(self._walk({}), 1):
            yield self.entry(number, raw)

    def header(self) -> Header:
        if not self._at and not self._keyed:
            return Header()
        fields: Record = {}
        for _ in self._walk(fields):
            pass
        return Header("", fields, self._at)

    def index(self) -> Sequence[Entry]:
        starts, lengths = array("Q"), array("Q")
        for start, raw in self._walk({}):
            starts.append(start)
            lengths.append(len(raw))
        return _Index(self._path, starts, lengths, range(1, len(starts) + 1), self)

    def _walk(self, beside: Record) -> Iterator[tuple[int, bytes]]:
        """Start and bytes of each record; what stands beside them goes into ``beside``."""
        found = not self._at
        count = 0
        with open_data(self._path, self._limits) as file:
            for path, start, raw in members(file, self._what, self._limits, [self._at]):
                if len(path) > len(self._at):
                    found = True
                    if self._keyed != isinstance(path[-1], str):
                        kind = "an object" if self._keyed else "a list"
                        raise Refusal(self._what, f"{_named(self._at)} is not {kind}", "see the format's description")
                    count += 1
                    if count > self._limits.items:
                        raise Refusal(self._what, f"it has more than {self._limits.items:,} items", "split it")
                    yield start, raw
                elif path == self._at or not path:
                    raise Refusal(self._what, f"{_named(self._at)} holds no records", "see the format's description")
                else:
                    name, value = parse_member(raw, self._what, self._limits)
                    beside[name] = value
        if not found and not self._has_empty():
            raise Refusal(self._what, f"it has no {_named(self._at)}", "see the format's description")

    def _has_empty(self) -> bool:
        """Whether the records' list is there, with nothing in it."""
        with open_data(self._path, self._limits) as file:
            return any(path[:1] == self._at for path, _, _ in members(file, self._what, self._limits, [()]))

    def entry(self, number: int, raw: bytes) -> Entry:
        where = f"{self._what} item {number}"
        if not self._keyed:
            return Entry(where, lambda: parse(raw, where, self._limits))
        return Entry(where, lambda: dict(zip(("key", "value"), parse_member(raw, where, self._limits), strict=True)))


def _named(at: tuple[str, ...]) -> str:
    return " ".join(at) or "the file"


class _Lines:
    """A record on each line; empty lines are none."""

    def __init__(self, path: Path, limits: DataLimits, headed: bool) -> None:
        self._path, self._limits, self._headed = path, limits, headed
        self._what = printable(path.name)

    def __iter__(self) -> Iterator[Entry]:
        for number, _, raw in self._walk():
            if not (number == 1 and self._header(raw)):
                yield self.entry(number, raw)

    def header(self) -> Header:
        for _, _, raw in self._walk():
            return self._header(raw) or Header()
        return Header()

    def index(self) -> Sequence[Entry]:
        starts, lengths, numbers = array("Q"), array("Q"), array("Q")
        for number, start, raw in self._walk():
            if not (number == 1 and self._header(raw)):
                starts.append(start)
                lengths.append(len(raw))
                numbers.append(number)
        return _Index(self._path, starts, lengths, numbers, self)

    def _walk(self) -> Iterator[tuple[int, int, bytes]]:
        """Number, start and bytes of each line."""
        start = count = 0
        with open_data(self._path, self._limits) as file:
            number = 0
            while line := file.readline(self._limits.record + 1):
                number += 1
                where = f"{self._what} line {number}"
                if len(line) > self._limits.record:
                    raise Refusal(where, f"it has more than {self._limits.record:,} bytes", "split it")
                raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if raw.strip():
                    count += 1
                    if count > self._limits.items:
                        raise Refusal(self._what, f"it has more than {self._limits.items:,} items", "split it")
                    yield number, start + len(line) - len(raw), raw
                start += len(line)

    def _header(self, raw: bytes) -> Header | None:
        if not self._headed or not raw.lstrip().startswith(b'{"header"'):
            return None
        where = f"{self._what} line 1"
        record = parse(raw, where, self._limits)
        match record:
            case {"header": {"format": str(name), "fields": dict(fields), "at": list() | None as at}} if len(record) == 1:
                return Header(name, fields, None if at is None else tuple(map(str, at)))
        raise Refusal(where, "it is not a header", "take the line out")

    def entry(self, number: int, raw: bytes) -> Entry:
        where = f"{self._what} line {number}"
        return Entry(where, lambda: parse(raw, where, self._limits))


class _Index(Sequence[Entry]):
    """Records by number, read when they are asked for; the file is opened anew, so processes may share this."""

    def __init__(
        self, path: Path, starts: array[int], lengths: array[int], numbers: Sequence[int], records: Spans | _Lines
    ) -> None:
        self._path, self._starts, self._lengths, self._numbers, self._records = path, starts, lengths, numbers, records

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: Any) -> Any:
        start, length = self._starts[place], self._lengths[place]
        with self._path.open("rb") as file:
            file.seek(start)
            return self._records.entry(self._numbers[place], file.read(length))
