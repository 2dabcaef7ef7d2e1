"""Data sets by the names of their formats: opened, recognised, written."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serval.data.formats.coco import COCO
from serval.data.formats.coin import COIN
from serval.data.formats.ego4d import EGO4D
from serval.data.formats.egoexo4d import EGOEXO4D
from serval.data.formats.goalstep import GOALSTEP
from serval.data.formats.layout import Entry, Header, Records, open_data
from serval.data.formats.llava import LLAVA
from serval.data.formats.openai_jsonl import OPENAI
from serval.data.formats.own import SERVAL
from serval.data.formats.record import OURS, Format, Record, read_record, write_record
from serval.data.formats.refcoco import refcoco
from serval.data.formats.sharegpt import SHAREGPT
from serval.data.item import Item
from serval.data.json_stream import members
from serval.data.limits import USUAL, DataLimits
from serval.media.local_file import printable
from serval.refusal import Refusal

log = logging.getLogger(__name__)

FORMATS: dict[str, Callable[..., Format]] = {
    "serval": lambda: SERVAL,
    "llava": lambda: LLAVA,
    "sharegpt": lambda: SHAREGPT,
    "openai": lambda: OPENAI,
    "ego4d": lambda: EGO4D,
    "egoexo4d": lambda: EGOEXO4D,
    "goalstep": lambda: GOALSTEP,
    "coin": lambda: COIN,
    "coco": lambda: COCO,
    "refcoco": refcoco,
}
"""Formats by name; a new one is put in here. Some take options, as `refcoco` does ``instances``."""


def format_named(name: str, **options: Any) -> Format:
    """
    Raises:
        Refusal: there is no such format, or it has no such option.
    """
    if name not in FORMATS:
        raise Refusal(f"format {name[:40]}", "there is none of that name", f"take {', '.join(FORMATS)}")
    try:
        return FORMATS[name](**options)
    except TypeError:
        raise Refusal(f"format {name}", f"it takes no {' or '.join(options)}", "leave that out") from None


@dataclass(frozen=True, eq=False)
class Dataset:
    """The items of a file, read as they are asked for, as often as wanted.

    Attributes:
        form: its format.
        path: the file.
        source: what its items' ``source`` is.
        media: the folder that its media have to be in; without one nothing may leave the folder it will be in.
        limits: what it may ask for.
        skip: told why a record was refused, which is then left out; without it the first such ends the reading. What is wrong
            with the file itself always does.
    """

    form: Format
    path: Path
    source: str
    media: Path | None = None
    limits: DataLimits = USUAL
    skip: Callable[[Refusal], None] | None = None

    def __iter__(self) -> Iterator[Item]:
        for entry in self._records():
            try:
                yield self._item(entry)
            except Refusal as refusal:
                if self.skip is None:
                    raise
                self.skip(refusal)

    def header(self) -> Header:
        """What the file says beside its records. It is read to its end for that."""
        found = self._records().header()
        return found if found.format or self.form.name == OURS else replace(found, format=self.form.name)

    def indexed(self) -> Sequence[Item]:
        """The items by number, for some bytes of memory each. The file is read to its end for that, and must not change."""
        return _Indexed(self._records().index(), self._item)

    def _records(self) -> Records:
        return self.form.layout.open(self.path, self.limits)

    def _item(self, entry: Entry) -> Item:
        item = read_record(self.form, entry.load(), entry.where, self.limits, self.media)
        return item if item.source else item.model_copy(update={"source": self.source})


class _Indexed(Sequence[Item]):
    def __init__(self, entries: Sequence[Entry], item: Callable[[Entry], Item]) -> None:
        self._entries, self._item = entries, item

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: Any) -> Any:
        return self._item(self._entries[number])


def open_dataset(
    name: str,
    path: Path | str,
    *,
    media: Path | str | None = None,
    limits: DataLimits = USUAL,
    skip: Callable[[Refusal], None] | None = None,
    **options: Any,
) -> Dataset:
    """Open a data set by the name of its format; see `Dataset` for the arguments, `FORMATS` for names and options.

    Raises:
        Refusal: there is no such format or file. Reading raises one that names file, place and what is wrong.
    """
    form, path = format_named(name, **options), Path(path)
    open_data(path, limits).close()
    return Dataset(form, path, path.stem, None if media is None else Path(media), limits, skip)


def write_dataset(
    name: str,
    path: Path | str,
    items: Iterable[Item],
    header: Header | None = None,
    *,
    skip: Callable[[Refusal], None] | None = None,
    **options: Any,
) -> int:
    """Write items as a data set, as they come; how many there were.

    A format that lists its records writes one to a line if the file's name ends in .jsonl. The file appears when it is whole.

    Args:
        header: `Dataset.header` of the file they came from, for formats that say something beside their records.
        skip: told why an item was refused, which is then left out.

    Raises:
        Refusal: there is no such format, it cannot say what an item says, or nothing can be written there.
    """
    form, path = format_named(name, **options), Path(path)
    if header is None or header.format != name != OURS:
        if header is not None and header.fields:
            log.warning("%s has no place for what the file says of itself: %s", name, ", ".join(header.fields))
        header = Header()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            count = form.layout.write(file, path.suffix in (".jsonl", ".ndjson"), _written(form, items, skip), header)
        temporary.replace(path)
    except OSError as error:
        raise Refusal(printable(path.name), f"it cannot be written ({error.strerror})", "check the folder") from None
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _written(form: Format, items: Iterable[Item], skip: Callable[[Refusal], None] | None) -> Iterator[Record]:
    for item in items:
        try:
            yield write_record(form, item)
        except Refusal as refusal:
            if skip is None:
                raise
            skip(refusal)


def recognise(path: Path | str, limits: DataLimits = USUAL) -> str:
    """The name of a file's format, by the names of the first things in it.

    Raises:
        Refusal: it is of no format known here.
    """
    found = _first(Path(path), limits)
    names = {str(place[-1] if place[0] == 0 else place[0]) for place in found}
    talk = next((raw for place, raw in found.items() if place[-1] == "messages"), b"")
    if "conversations" in names:
        return "sharegpt" if names & {"images", "videos", "audios", "tools"} else "llava"
    if b'"content"' in talk:
        return "openai"
    if {"ref_id", "sentences"} <= names:
        return "refcoco"
    for place in found:
        form = _CONTAINERS.get((str(place[0]), isinstance(place[1], int))) if len(place) == 2 else None
        if form is not None:
            return form
    if names == {"header"} or (names and names <= set(Item.model_fields)):
        return "serval"
    if any(b'"narration_pass_' in raw for raw in found.values()):
        return "ego4d"
    raise Refusal(printable(Path(path).name), "it is of no format known here", f"name one: {', '.join(FORMATS)}")


_CONTAINERS = {  # in what they keep their records, and whether that is a list
    ("images", True): "coco",
    ("annotations", True): "coco",
    ("annotations", False): "egoexo4d",
    ("videos", True): "goalstep",
    ("videos", False): "ego4d",
    ("database", False): "coin",
}
_SEEN = 64  # members of a file that are looked at to recognise it


def _first(path: Path, limits: DataLimits) -> dict[tuple[str | int, ...], bytes]:
    """The first members of a file, of its first record, and of the lists that formats keep records in."""
    found: dict[tuple[str | int, ...], bytes] = {}
    with open_data(path, limits) as file:
        places: list[tuple[str | int, ...]] = [(), (0,), *((name,) for name, _ in _CONTAINERS)]
        try:
            for member in members(file, printable(path.name), limits, places):
                if len(found) >= _SEEN or member.path[0] == 1:
                    break
                found[member.path] = member.raw
        except Refusal:
            if not found:  # else lines follow the first, or the reader will say what is wrong
                raise
    return found
