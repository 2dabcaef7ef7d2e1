"""COCO (arXiv 1405.0312): pictures, and annotations of them with boxes, outlines or captions.

    {"images": [{"id": 9, "file_name": "9.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 1, "image_id": 9, "category_id": 18, "bbox": [x, y, width, height], "segmentation": …}],
     "categories": [{"id": 18, "name": "dog"}]}

An item is a picture with its annotations. The file is read once for where everything is, some tens of bytes each, and then
picture by picture. Written again, annotations stand in the order of their pictures.
"""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from serval.data.boxes import XYWH
from serval.data.formats.layout import Entry, Header, Records, dumped, open_data
from serval.data.formats.llava import named, place_of
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Item, Region, RunLengths
from serval.data.json_stream import members, parse, parse_member
from serval.data.limits import DataLimits
from serval.media.box import Box
from serval.media.local_file import printable
from serval.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Size = tuple[int, int]


def size_of(record: Record) -> Size | None:
    """Width and height of a picture, if its record says them."""
    width, height = record.get("width"), record.get("height")
    return (width, height) if type(width) is int and type(height) is int and width > 0 and height > 0 else None


def read_box(value: Any, size: Size | None, what: str) -> Box:
    """A "bbox" as fractions of a picture of ``size``.

    Raises:
        Refusal: it is not four numbers, has a negative side, or the picture's size is not known.
    """
    if not isinstance(value, list) or len(value) != 4 or not all(type(each) in (int, float) for each in value):
        raise Refusal(what, "its bbox is not four numbers", "write [x, y, width, height] in pixels")
    if value[2] < 0 or value[3] < 0:
        raise Refusal(what, "its bbox has a negative side", "write [x, y, width, height] in pixels")
    if size is None:
        raise Refusal(what, "its picture has no width and height", "give them in pixels")
    return XYWH(*value).fractions(*size)


def written_box(region: Region, size: Size | None, what: str) -> list[float]:
    """A region's box as a "bbox".

    Raises:
        Refusal: the picture's size is not known.
    """
    size = region.size or size
    if region.box is None or size is None:
        raise Refusal(what, "its picture's size in pixels is not known", "give the region its size")
    return list(XYWH.of(region.box, *size))


def decode(record: Record) -> Item:
    image = dict(taken(record, "image", dict))
    id_ = taken(image, "id", int, what="image")
    place = taken(image, "file_name", str, what="image")
    names = taken(record, "names", dict, default={})
    found = objects(taken(record, "annotations", list, default=[]), "annotation")
    regions = tuple(_region(each, size_of(image), names) for each in found)
    return Item(id=id_, media=(named("image", place),), regions=regions, extra=image)


def _region(fields: Record, size: Size | None, names: Record) -> Region:
    id_ = taken(fields, "id", int, str, default=None)
    what = f"annotation {id_}"
    fields.pop("image_id", None)
    box = fields.pop("bbox", None)
    caption = taken(fields, "caption", str, default=None, what=what)
    label = taken(fields, "category", str, default="", what=what) or names.get(str(fields.get("category_id")), "")
    return Region(
        id=id_,
        label=label,
        phrases=() if caption is None else (caption,),
        box=None if box is None else read_box(box, size, what),
        size=None if box is None else size,
        segmentation=_outline(fields.pop("segmentation", None), what),
        extra=fields,
    )


def _outline(value: Any, what: str) -> RunLengths | tuple[tuple[float, ...], ...] | None:
    match value:
        case None:
            return None
        case {"size": [int(height), int(width)], "counts": list() | str() as counts} if len(value) == 2:
            return RunLengths(size=(height, width), counts=counts if isinstance(counts, str) else tuple(counts))
        case list() if all(isinstance(each, list) and len(each) % 2 == 0 for each in value):
            return tuple(map(tuple, value))
    raise Refusal(what, "its segmentation is neither polygons nor run lengths", "write [[x, y, …], …] or size and counts")


def encode(item: Item) -> Record:
    if type(item.id) is not int or len(item.media) != 1:
        raise Refusal("", "it is not one picture with a number", "give it a picture, and a whole number for an id")
    size, names, annotations = size_of(item.extra), {}, []
    for number, region in enumerate(item.regions, 1):
        what = f"region {number}"
        fields: Record = {} if region.id is None else {"id": region.id}
        fields |= {"image_id": item.id, **region.extra}
        if region.label and "category_id" in region.extra:
            names[str(region.extra["category_id"])] = region.label
        elif region.label:
            fields["category"] = region.label
        if region.box is not None:
            fields["bbox"] = written_box(region, size, what)
        if region.segmentation is not None:
            fields["segmentation"] = _written(region.segmentation)
        if region.phrases:
            fields["caption"] = region.phrases[0]
        annotations.append(fields)
    image = {"id": item.id, "file_name": place_of(item.media[0], item), **item.extra}
    return {"image": image, "annotations": annotations, "names": names}


def _written(outline: RunLengths | tuple[tuple[float, ...], ...]) -> Any:
    if isinstance(outline, RunLengths):
        counts = outline.counts
        return {"size": list(outline.size), "counts": counts if isinstance(counts, str) else list(counts)}
    return [list(each) for each in outline]


@dataclass(frozen=True, eq=False)
class _Index:
    """Where everything is: its first byte and its length. Annotations stand in the order of their pictures."""

    fields: Record
    images: NDArray[np.int64]  # (images, 3): id, start, length
    annotations: NDArray[np.int64]  # (annotations, 4): picture, start, length, id
    order: NDArray[np.int64]  # of images by id
    by_id: NDArray[np.int64]  # of annotations


class CocoFile:
    """A file of COCO's: its pictures in its order, and either kind of thing by id."""

    def __init__(self, path: Path, limits: DataLimits) -> None:
        self._path, self._limits, self._what = path, limits, printable(path.name)

    def __iter__(self) -> Iterator[Entry]:
        for number in range(len(self._index.images)):
            yield self[number]

    def __len__(self) -> int:
        return len(self._index.images)

    def __getitem__(self, number: int) -> Entry:
        number = range(len(self))[number]
        return Entry(f"{self._what} image {number + 1}", lambda: self._record(number))

    def header(self) -> Header:
        return Header("", self._index.fields, ())

    def index(self) -> Sequence[Entry]:
        return _Sequence(self)

    @cached_property
    def categories(self) -> dict[str, str]:
        """Names of classes by their ids, written out."""
        found = self._index.fields.get("categories", [])
        named = [each for each in found if isinstance(each, dict) and isinstance(each.get("name"), str)]
        return {str(each.get("id")): each["name"] for each in named}

    def image(self, id_: int) -> Record | None:
        """A picture's record."""
        place = self._found(self._index.images[:, 0], self._index.order, id_)
        return None if place is None else self._parsed([self._index.images[place, 1:3]], f"image {id_}")[0]

    def annotation(self, id_: int) -> Record | None:
        """An annotation's record."""
        place = self._found(self._index.annotations[:, 3], self._index.by_id, id_)
        return None if place is None else self._parsed([self._index.annotations[place, 1:3]], f"annotation {id_}")[0]

    def _found(self, ids: NDArray[np.int64], order: NDArray[np.int64], id_: int) -> int | None:
        place = int(ids.searchsorted(id_, sorter=order))
        return int(order[place]) if place < len(order) and ids[order[place]] == id_ else None

    def _record(self, number: int) -> Record:
        index = self._index
        id_, *span = map(int, index.images[number])
        first, last = index.annotations[:, 0].searchsorted([id_, id_ + 1])
        spans = index.annotations[first:last, 1:3]
        if spans[:, 1].sum() > self._limits.record:
            raise Refusal(f"{self._what} image {number + 1}", "its annotations have too many bytes", "split them")
        image, *found = self._parsed([span, *spans], f"image {number + 1}")
        ids = sorted({str(each.get("category_id")) for each in found} & set(self.categories))
        return {"image": image, "annotations": found, "names": {each: self.categories[each] for each in ids}}

    def _parsed(self, spans: Sequence[Any], where: str) -> list[Any]:
        found = []
        with self._path.open("rb") as file:
            for start, length in spans:
                file.seek(int(start))
                found.append(parse(file.read(int(length)), f"{self._what} {where}", self._limits))
        return found

    @cached_property
    def _index(self) -> _Index:
        """
        Raises:
            Refusal: something has no whole number for an id, two pictures share one, or an annotation's picture is not there.
        """
        import numpy as np

        images, annotations = array("q"), array("q")
        fields: Record = {}
        with open_data(self._path, self._limits) as file:
            for path, start, raw in members(file, self._what, self._limits, [(each,) for each in _LISTS]):
                if len(path) < 2:
                    if not path or path[0] in ("images", "annotations"):
                        raise Refusal(self._what, f"{path[0] if path else 'it'} is not a list", "see COCO's description")
                    fields.update([parse_member(raw, self._what, self._limits)])
                    continue
                where = f"{self._what} {str(path[0]).removesuffix('s')} {int(path[1]) + 1}"
                value = parse(raw, where, self._limits)
                if path[0] == "categories":
                    fields.setdefault("categories", []).append(value)
                elif path[0] == "images":
                    images.extend((_id(value, "id", where), start, len(raw)))
                else:
                    own = value.get("id") if isinstance(value, dict) else None
                    number = own if type(own) is int and abs(own) < 1 << 62 else -1
                    annotations.extend((_id(value, "image_id", where), start, len(raw), number))
                if len(images) > 3 * self._limits.items or len(annotations) > 4 * self._limits.items:
                    raise Refusal(self._what, f"it has more than {self._limits.items:,} items", "split it")
        pictures = np.asarray(images, np.int64).reshape(-1, 3)
        notes = np.asarray(annotations, np.int64).reshape(-1, 4)
        if not len(pictures):
            raise Refusal(self._what, "it has no images", "give COCO's instances or captions")
        notes = notes[notes[:, 0].argsort(kind="stable")]
        order = pictures[:, 0].argsort(kind="stable")
        ids = pictures[order, 0]
        if (twice := ids[1:][ids[1:] == ids[:-1]]).size:
            raise Refusal(self._what, f"two images have the id {twice[0]}", "give each its own")
        if (lost := notes[~np.isin(notes[:, 0], ids), 0]).size:
            raise Refusal(self._what, f"an annotation is of image {lost[0]}, which is not there", "take it out")
        return _Index(fields, pictures, notes, order, notes[:, 3].argsort(kind="stable"))


_LISTS = ("images", "annotations", "categories")


def _id(value: Any, name: str, where: str) -> int:
    found = value.get(name) if isinstance(value, dict) else None
    if type(found) is not int or abs(found) >= 1 << 62:
        raise Refusal(where, f"it has no {name} that is a whole number", "give it one")
    return found


class _Sequence(Sequence[Entry]):
    def __init__(self, file: CocoFile) -> None:
        self._file = file

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, number: Any) -> Any:
        return self._file[number]


class _Coco:
    def open(self, path: Path, limits: DataLimits) -> Records:
        open_data(path, limits).close()
        return CocoFile(path, limits)

    def write(self, file: BinaryIO, lines: bool, records: Iterable[Record], header: Header) -> int:
        fields = {name: value for name, value in header.fields.items() if name not in _LISTS}
        kept = header.fields.get("categories")
        categories: list[Any] = list(kept) if isinstance(kept, list) else []
        ids = {each.get("name"): each.get("id") for each in categories if isinstance(each, dict)}
        file.write(b"{" + b"".join(dumped(name) + b":" + dumped(value) + b",\n" for name, value in fields.items()))
        file.write(b'"images":[')
        count = written = 0
        own: bool | None = None
        with tempfile.TemporaryFile() as notes:
            for record in records:
                file.write((b",\n" if count else b"\n") + dumped(record["image"]))
                count += 1
                for name, label in record["names"].items():
                    if label not in ids:
                        ids[label] = int(name) if name.lstrip("-").isdecimal() else name
                        categories.append({"id": ids[label], "name": label})
                for note in record["annotations"]:
                    if own not in (None, "id" in note):
                        raise Refusal("annotations", "some have ids and some have none", "give all ids, or none")
                    own = "id" in note
                    notes.write((b",\n" if written else b"\n") + dumped(_finished(note, written + 1, ids, categories)))
                    written += 1
            notes.seek(0)
            file.write(b'\n],\n"annotations":[')
            shutil.copyfileobj(notes, file)
        file.write(b"\n]" + (b',\n"categories":' + dumped(categories) if kept is not None or categories else b"") + b"}\n")
        return count


def _finished(note: Record, number: int, ids: dict[Any, Any], categories: list[Any]) -> Record:
    """An annotation with what COCO's tools need of it: one that was made here has no id, and its class has only a name."""
    note = dict(note)
    if "category" in note:
        label = note.pop("category")
        if label not in ids:
            ids[label] = max([each for each in ids.values() if isinstance(each, int)], default=0) + 1
            categories.append({"id": ids[label], "name": label})
        note["category_id"] = ids[label]
    if "id" not in note:
        x = note.get("bbox", [0, 0, 0, 0])
        note = {"id": number, "area": x[2] * x[3], "iscrowd": 0, **note}
    return note


COCO = Format("coco", "COCO's pictures with boxes, outlines or captions", _Coco(), decode, encode)
