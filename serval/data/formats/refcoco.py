"""RefCOCO, RefCOCO+ and RefCOCOg (arXiv 1608.00272): phrases that people call a thing in a picture by, and its box.

    [{"ref_id": 1, "ann_id": 12, "image_id": 9, "file_name": "9.jpg", "sentences": [{"sent": "the dog on the left"}],
      "bbox": [x, y, width, height], "width": 640, "height": 480, "split": "val"}]

A list or lines. The published files are pickles, which are never opened, and leave boxes to COCO's instances: given those,
boxes, sizes and names of pictures come from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from serval.data.formats.coco import CocoFile, read_box, size_of, written_box
from serval.data.formats.layout import Flat, Records, open_data
from serval.data.formats.llava import named, place_of
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Item, Region
from serval.data.limits import DataLimits
from serval.media.local_file import printable
from serval.refusal import Refusal


class _NoPickle(Flat):
    def open(self, path: Path, limits: DataLimits) -> Records:
        with open_data(path, limits) as file:
            if file.read(1) == b"\x80":
                why, remedy = "it is a pickle, which can run code", "write it as JSON where you trust it"
                raise Refusal(printable(path.name), why, remedy)
        return super().open(path, limits)


@dataclass(frozen=True)
class _Refs:
    instances: Path | None

    @cached_property
    def _coco(self) -> CocoFile | None:
        return None if self.instances is None else CocoFile(self.instances, DataLimits())

    def decode(self, record: Record) -> Item:
        label = taken(record, "category", str, default="")
        if "bbox" not in record and self._coco is not None:
            label = self._join(record) or label
        id_ = taken(record, "ref_id", int, str)
        place = taken(record, "file_name", str)
        size = size_of(record)
        phrases = tuple(_phrase(each, number) for number, each in enumerate(taken(record, "sentences", list), 1))
        if "bbox" not in record:
            raise Refusal("", "it has no bbox", "give COCO's instances, or a bbox with width and height")
        box = read_box(record.pop("bbox"), size, "")
        own = taken(record, "ann_id", int, str, default=None)
        region = Region(id=own, phrases=phrases, label=label, box=box, size=size)
        extra = {name: value for name, value in record.items() if name not in ("width", "height")}
        return Item(id=id_, media=(named("image", place),), regions=(region,), extra=extra)

    def _join(self, record: Record) -> str:
        """Fill in what COCO's instances know; the name of the thing's class."""
        assert self._coco is not None
        own, picture = record.get("ann_id"), record.get("image_id")
        found = self._coco.annotation(own) if type(own) is int else None
        image = self._coco.image(picture) if type(picture) is int else None
        if found is None or image is None:
            raise Refusal("", f"annotation {own} of image {picture} is not among the instances", "give those it was made from")
        record["bbox"] = found.get("bbox")
        record.update({name: image[name] for name in ("file_name", "width", "height") if name in image})
        return self._coco.categories.get(str(found.get("category_id")), "")


def _phrase(value: Any, number: int) -> str:
    if isinstance(value, str):
        return value
    fields = objects([value], f"sentence {number}, part")[0]
    phrase: str = taken(fields, "sent", str, what=f"sentence {number}")
    return phrase


def encode(item: Item) -> Record:
    if len(item.regions) != 1 or len(item.media) != 1:
        raise Refusal("", f"it has {len(item.regions)} regions and {len(item.media)} pictures", "refcoco has one of each")
    region = item.regions[0]
    fields: Record = {"ref_id": item.id} | ({} if region.id is None else {"ann_id": region.id})
    fields |= {"file_name": place_of(item.media[0], item), "bbox": written_box(region, None, "")}
    fields |= dict(zip(("width", "height"), region.size or (), strict=True))
    fields |= {"category": region.label} if region.label else {}
    return {**fields, "sentences": [{"sent": each} for each in region.phrases], **item.extra}


def refcoco(instances: Path | str | None = None) -> Format:
    """The format.

    Args:
        instances: COCO's file with the boxes, for records without.
    """
    refs = _Refs(None if instances is None else Path(instances))
    return Format("refcoco", "RefCOCO's phrases, each for one box", _NoPickle(), refs.decode, encode)
