"""Atomic action descriptions of Ego-Exo4D (arXiv 2311.18259): for each take what one or more annotators saw happen, and when.

    {"annotations": {take_uid: [{"annotator_id": …, "rejected": false,
                                 "descriptions": [{"timestamp": 3.9, "text": "C moves his right hand.", …}]}]}}

An event's kind is "annotation_1", "annotation_2" …, or "rejected_1" … for a job that was rejected.
"""

from __future__ import annotations

from serval.data.formats.ego4d import uid_of, video
from serval.data.formats.layout import Tree
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Event, Item
from serval.refusal import Refusal


def decode(record: Record) -> Item:
    uid = record["key"]
    events: list[Event] = []
    annotations = objects(taken(record, "value", list), "annotation")
    for number, annotation in enumerate(annotations, 1):
        what = f"annotation {number}"
        kind = f"{'rejected' if annotation.get('rejected') else 'annotation'}_{number}"
        for place, each in enumerate(objects(taken(annotation, "descriptions", list, what=what), f"{what} description"), 1):
            where = f"{what} description {place}"
            start = taken(each, "timestamp", float, what=where)
            events.append(Event(start=start, text=taken(each, "text", str, what=where), kind=kind, extra=each))
    extra: Record = {"annotations": annotations} if annotations else {}
    return Item(id=uid, media=video(uid), events=tuple(events), extra=extra)


def encode(item: Item) -> Record:
    found = item.extra.get("annotations", [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Refusal("", "its annotations are not objects", "write serval items")
    value: list[Record] = [{"descriptions": [], **each} for each in found if isinstance(each, dict)]
    for number, event in enumerate(item.events, 1):
        kind, _, place = event.kind.partition("_")
        if kind not in ("annotation", "rejected") or not place.isdecimal() or not 1 <= int(place) <= len(found) + 1:
            raise Refusal(f"event {number}", f"its kind is {event.kind[:40]!r}, not annotation_1 or so", "write serval items")
        if int(place) > len(value):
            value.append({"rejected": kind == "rejected", "descriptions": []})
        value[int(place) - 1]["descriptions"].append({"text": event.text, "timestamp": event.start, **event.extra})
    return {"key": uid_of(item), "value": value}


EGOEXO4D = Format("egoexo4d", "Ego-Exo4D's atomic descriptions", Tree("annotations", keyed=True), decode, encode)
