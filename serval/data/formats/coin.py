"""COIN (CVPR 2019): instructional videos, each with a task and its steps.

{"database": {id: {"class": "PutOnHairExtensions", "subset": "training", "duration": 86.5, …,
                   "annotation": [{"id": "20", "segment": [32.0, 34.0], "label": "put the hair on"}]}}}
"""

from __future__ import annotations

from serval.data.formats.ego4d import uid_of, video
from serval.data.formats.layout import Tree
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Event, Item
from serval.refusal import Refusal


def decode(record: Record) -> Item:
    uid, value = record["key"], dict(taken(record, "value", dict))
    events = []
    for number, each in enumerate(objects(taken(value, "annotation", list), "step"), 1):
        what = f"step {number}"
        segment = taken(each, "segment", list, what=what)
        if len(segment) != 2 or not all(type(time) in (int, float) for time in segment) or segment[0] > segment[1]:
            raise Refusal(what, "its segment is not a start and an end in seconds", "write [start, end]")
        label = taken(each, "label", str, what=what)
        events.append(Event(start=segment[0], end=segment[1], text=label, kind="step", extra=each))
    return Item(id=uid, media=video(uid), events=tuple(events), extra=value)


def encode(item: Item) -> Record:
    steps = []
    for number, event in enumerate(item.events, 1):
        if event.end is None:
            raise Refusal(f"event {number}", "it has no end", "give each step its end")
        steps.append({"segment": [event.start, event.end], "label": event.text, **event.extra})
    return {"key": uid_of(item), "value": {**item.extra, "annotation": steps}}


COIN = Format("coin", "COIN's tasks and steps", Tree("database", keyed=True), decode, encode)
