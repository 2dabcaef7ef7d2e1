"""JSON files of any size, read member by member: only the member at hand is in memory.

Structure is found in bytes, which UTF-8 allows; a member becomes values only when it is whole and within the limits.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, NamedTuple, NoReturn

from serval.data.limits import DataLimits
from serval.refusal import Refusal

Path = tuple[str | int, ...]
"""Where a value is in a file: names of members and numbers of elements, from the outside in."""

_CHUNK = 1 << 18
_BOM = b"\xef\xbb\xbf"


class Member(NamedTuple):
    """A whole value of a file.

    Attributes:
        path: where it is.
        start: its first byte in the file; of an object's member the first of its name.
        raw: its bytes; of an object's member with its name, as they stand between commas.
    """

    path: Path
    start: int
    raw: bytes


def members(file: BinaryIO, what: str, limits: DataLimits, inside: Collection[Path]) -> Iterator[Member]:
    """Every member of the lists and objects at ``inside``, and whole what stands beside the way to them, in the file's order.

    Args:
        file: open at its beginning.
        what: its name, for refusals.
        inside: paths of containers; `()` is the file itself.

    Raises:
        Refusal: it is not JSON, ends early, goes on after its end, or a member is over a limit.
    """
    yield from _Walk(file, what, limits, frozenset(inside)).file()


def parse(raw: bytes, where: str, limits: DataLimits) -> Any:
    """The value of a record, strictly: UTF-8, finite numbers, no name twice, no half of a character.

    Raises:
        Refusal: it is not that, or too deep.
    """
    if raw.count(b"{") + raw.count(b"[") > limits.depth and _depth(raw) > limits.depth:
        raise Refusal(where, f"it is more than {limits.depth} deep", "flatten it")
    try:
        value = _DECODER.decode(raw.decode())
        if b"\\ud" in raw or b"\\uD" in raw:  # half of a character, perhaps
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise Refusal(where, f"it is not JSON ({error.msg}, character {error.pos + 1})", "mend the file") from None
    except UnicodeError as error:
        what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not Unicode: it has half of a character"
        raise Refusal(where, f"it is {what}", "mend the file") from None
    except ValueError as error:
        raise Refusal(where, f"it is not plain JSON ({str(error)[:80]})", "mend the file") from None
    return value


def parse_member(raw: bytes, where: str, limits: DataLimits) -> tuple[str, Any]:
    """Name and value of an object's member; see `parse`."""
    ((name, value),) = parse(b"{" + raw + b"}", where, limits).items()
    return name, value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("it has a name twice")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_named_once, parse_float=_finite, parse_constant=_no_number)


def _depth(raw: bytes) -> int:
    deepest = depth = 0
    for token in _TOKENS.finditer(raw):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
        deepest = max(deepest, depth)
    return deepest


_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_MARK = re.compile(rb'["\[\]{}]')
_IN_STRING = re.compile(rb'["\\]')
_SCALAR_END = re.compile(rb"[\s,\]}:]")
_SPACE = re.compile(rb"[ \t\n\r]*")


class _Walk:
    def __init__(self, file: BinaryIO, what: str, limits: DataLimits, inside: frozenset[Path]) -> None:
        self._file, self._what, self._limits, self._inside = file, what, limits, inside
        self._bytes, self._at, self._base = b"", 0, 0  # what was read, where we are in it, where it is in the file
        self._from = 0  # what must stay in memory
        self._number = 0

    def file(self) -> Iterator[Member]:
        while len(self._bytes) < len(_BOM) and self._more():
            pass
        if self._bytes.startswith(_BOM):
            self._at = self._from = len(_BOM)
        yield from self._value((), self._place())
        if self._peek() != b"":
            self._refuse("something follows its end")

    def _value(self, path: Path, start: int) -> Iterator[Member]:
        """``start``: where the member began; its bytes are kept from there."""
        opening = self._peek()
        opened = path in self._inside and opening in (b"[", b"{")
        if opened or (opening == b"{" and any(each[: len(path)] == path for each in self._inside)):
            yield from self._container(path, opening)
        else:
            self._skip()
            yield Member(path, start, self._bytes[start - self._base : self._at])

    def _container(self, path: Path, opening: bytes) -> Iterator[Member]:
        closing = b"]" if opening == b"[" else b"}"
        self._at += 1
        count = 0
        while True:
            after = self._peek()
            if after == closing and not count:
                break
            if count:
                if after == closing:
                    break
                if after != b",":
                    self._refuse("a comma is missing")
                self._at += 1
                self._peek()
            self._from = self._at
            start = self._place()
            name: str | int = count
            if opening == b"{":
                name = self._name()
            yield from self._value((*path, name), start)
            self._from = self._at
            count += 1
            self._number += 1
        self._at += 1
        self._from = self._at

    def _name(self) -> str:
        if self._peek() != b'"':
            self._refuse("a name is missing")
        begin = self._place()
        self._skip()
        name = parse(self._bytes[begin - self._base : self._at], self._where(), self._limits)
        if self._peek() != b":":
            self._refuse("a colon is missing")
        self._at += 1
        return str(name)

    def _skip(self) -> None:
        """Go behind the value that begins here."""
        mark = self._peek()
        if mark == b'"':
            self._at += 1
            self._string()
        elif mark in (b"[", b"{"):
            depth = 0
            while True:
                found = _MARK.search(self._bytes, self._at)
                if found is None:
                    self._at = len(self._bytes)
                    self._more(needed=True)
                    continue
                self._at = found.end()
                if found[0] == b'"':
                    self._string()
                    continue
                depth += 1 if found[0] in b"[{" else -1
                if depth > self._limits.depth:
                    self._refuse(f"it is more than {self._limits.depth} deep", "flatten it")
                if depth == 0:
                    break
        else:
            begin = self._place()
            while (found := _SCALAR_END.search(self._bytes, self._at)) is None:
                self._at = len(self._bytes)
                if not self._more():
                    break
            self._at = self._at if found is None else found.start()
            if self._place() == begin:
                self._refuse("a value is missing")
        self._check()

    def _string(self) -> None:
        while True:
            found = _IN_STRING.search(self._bytes, self._at)
            if found is None:
                self._at = len(self._bytes)
                self._more(needed=True)
                continue
            self._at = found.end()
            if found[0] == b'"':
                return
            if self._at == len(self._bytes):
                self._more(needed=True)
            self._at += 1

    def _peek(self) -> bytes:
        """The next byte that is no space; none at the end."""
        while True:
            found = _SPACE.match(self._bytes, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._bytes):
                return self._bytes[self._at : self._at + 1]
            if not self._more():
                return b""

    def _more(self, needed: bool = False) -> bool:
        self._check()
        kept = self._bytes[self._from :]
        found = self._file.read(max(_CHUNK, len(kept)))
        if not found and needed:
            self._refuse("the file ends in its middle", "copy or fetch it again")
        self._bytes = kept + found
        self._base += self._from
        self._at -= self._from
        self._from = 0
        return bool(found)

    def _check(self) -> None:
        if self._at - self._from > self._limits.record:
            self._refuse(f"it has more than {self._limits.record:,} bytes", "split it")

    def _place(self) -> int:
        return self._base + self._at

    def _where(self) -> str:
        return f"{self._what}, member {self._number + 1} at byte {self._place():,}"

    def _refuse(self, why: str, remedy: str = "mend the file") -> NoReturn:
        raise Refusal(self._where(), why, remedy)
