"""From a record of a file to an item and back, without loss whatever the format.

A format says how its usual records are read and written. Two rules make every way there and back exact:

- An item that its format would write in another way than it was written keeps its record (`Spelled`). The record is written
  again as long as it still says the same.
- What a format has no place for goes into a field ``serval`` of its records, and only that. A record with such a field is
  refused once the two do not fit together, so nobody's edit is undone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from serval.data.item import Item, Region, Spelled, wrong_with
from serval.data.limits import DataLimits, check_places
from serval.refusal import Refusal

if TYPE_CHECKING:
    from serval.data.formats.layout import Layout

Record = dict[str, Any]
OURS = "serval"


@dataclass(frozen=True)
class Format:
    """A format of a data set.

    Attributes:
        name: what it is opened by.
        about: what it is, in a line.
        layout: how its records lie in a file.
        decode: a record as it is usually written → an item. It may take the record apart; what it leaves is not read.
        encode: an item → a record as it is usually written.
        roomy: its records may have a field of ours.
    """

    name: str
    about: str
    layout: Layout
    decode: Callable[[Record], Item]
    encode: Callable[[Item], Record]
    roomy: bool = False


def read_record(form: Format, record: Any, where: str, limits: DataLimits, root: Path | None = None) -> Item:
    """
    Args:
        where: file and place of the record, for refusals.
        root: the folder that media have to be in.

    Raises:
        Refusal: the record is wrong, too long, or names a file elsewhere.
    """
    try:
        if not isinstance(record, dict):
            raise Refusal("", f"it is {_kind(record)}, not an object", "see the format's description")
        item = _decoded(form, record)
        limits.check(item)
        check_places(item, root)
        return item
    except ValidationError as error:
        raise Refusal(where, wrong_with(error), "mend the record") from None
    except Refusal as refusal:
        raise Refusal(_place(where, refusal), refusal.why, refusal.remedy) from None


def write_record(form: Format, item: Item) -> Record:
    """
    Raises:
        Refusal: the format cannot say what the item says.
    """
    try:
        return _encoded(form, item)
    except ValidationError as error:
        raise Refusal(f"item {item.id}", wrong_with(error), f"{form.name} cannot say that") from None
    except Refusal as refusal:
        raise Refusal(_place(f"item {item.id}", refusal), refusal.why, refusal.remedy) from None


def _decoded(form: Format, record: Record) -> Item:
    plain = {name: value for name, value in record.items() if name != OURS} if form.roomy else record
    item = form.decode(dict(plain))
    if len(plain) < len(record):
        item = _with(item, record[OURS])
        if form.encode(item) != plain:
            raise Refusal(
                "", "its field serval does not fit the rest", "take it out if the record was changed, or name the right format"
            )
    elif form.name != OURS and _usual(form, item) != record:
        item = item.model_copy(update={"spelled": Spelled(format=form.name, record=record)})
    return item


def _usual(form: Format, item: Item) -> Record | None:
    try:
        return form.encode(item)
    except Refusal:
        return None


def _said(form: Format, record: Record) -> Item | None:
    try:
        return form.decode(dict(record))
    except (Refusal, ValidationError):
        return None


def _encoded(form: Format, item: Item) -> Record:
    spelled = item.spelled
    if spelled is not None and spelled.format == form.name:
        bare = item.model_copy(update={"spelled": None, "source": ""})
        if _said(form, spelled.record) == bare:
            return dict(spelled.record)
        item = item.model_copy(update={"spelled": None})
    record = form.encode(item)
    back = form.decode(dict(record))
    lost = {name for name in Item.model_fields if name != "source" and getattr(back, name) != getattr(item, name)}
    if not form.roomy and _same_places(back.regions, item.regions):
        lost.discard("regions")
    if not lost:
        return record
    if not form.roomy:
        raise Refusal("", f"{form.name} has no place for its {' and '.join(sorted(lost))}", "write serval items")
    ours = item.to_record()
    return {**record, OURS: {name: ours.get(name) for name in sorted(lost)}}


def _same_places(left: tuple[Region, ...], right: tuple[Region, ...]) -> bool:
    """Whether regions differ by no more than a millionth of a pixel, to which boxes in pixels are written."""
    if len(left) != len(right):
        return False
    for one, other in zip(left, right, strict=True):
        if one.box is not None and other.box is not None and one.size is not None:
            apart = max(abs(a - b) * side for a, b, side in zip(one.box, other.box, one.size * 2, strict=True))
            one = one.model_copy(update={"box": other.box if apart <= 1e-6 else one.box})
        if one != other:
            return False
    return True


def _with(item: Item, ours: object) -> Item:
    if not isinstance(ours, dict) or not set(ours) <= set(Item.model_fields):
        raise Refusal("", "its field serval is not Serval's", "take the field out, or rename it")
    record = {name: value for name, value in {**item.to_record(), **ours}.items() if value is not None}
    return Item.from_json(json.dumps(record))


def _place(where: str, refusal: Refusal) -> str:
    return f"{where}, {refusal.what}" if refusal.what else where


_MISSING = object()


def taken(record: Record, name: str, *kinds: type, default: Any = _MISSING, what: str = "") -> Any:
    """Take a field out of a record.

    Args:
        kinds: what it may be. `float` takes whole numbers too; nothing takes `bool` but itself.
        default: for a record that has no such field, which is refused without one.
        what: what the record is, for refusals.

    Raises:
        Refusal: it is missing, or something else.
    """
    value = record.pop(name, default)
    if value is _MISSING:
        raise Refusal(what, f"it has no {name}", "see the format's description")
    if value is default:
        return value
    fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(_NAMES[kind] for kind in kinds)
        raise Refusal(what, f"its {name} is {_kind(value)}, not {names}", "see the format's description")
    return value


def objects(values: list[Any], what: str) -> list[Record]:
    """Copies of the objects of a list, to be taken apart.

    Raises:
        Refusal: something else is among them; ``what`` and its number name it.
    """
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise Refusal(f"{what} {number}", f"it is {_kind(value)}, not an object", "see the format's description")
    return [dict(value) for value in values]


_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _NAMES.get(type(value), "something else")
