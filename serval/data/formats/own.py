"""Items as they are, one to a line; the first line may say what the file they came from said beside its records."""

from __future__ import annotations

import json

from serval.data.formats.layout import Flat
from serval.data.formats.record import OURS, Format, Record
from serval.data.item import Item


def decode(record: Record) -> Item:
    return Item.from_json(json.dumps(record))


SERVAL = Format(OURS, "Serval's items, one to a line, with everything", Flat(lines=True, headed=True), decode, Item.to_record)
