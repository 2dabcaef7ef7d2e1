"""Narrations of Ego4D (arXiv 2110.07058): for each video up to two passes, each a narrator's moments and summaries.

    {"videos": {uid: {"narration_pass_1": {"narrations": [{"timestamp_sec": 3.2, "narration_text": "#C C opens a door", …}],
                                           "summaries": [{"start_sec": 0, "end_sec": 300, "summary_text": …}]}, "status": …}}}

A file may also be the object of the videos alone. An event's kind is its pass, with "/summaries" for those.
"""

from __future__ import annotations

from serval.conversation.messages import Media
from serval.data.formats.layout import Tree
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Event, Item
from serval.refusal import Refusal

_PASS = "narration_pass"  # noqa: S105 - the beginning of a field's name
_SUMMARIES = "/summaries"


def video(uid: str) -> tuple[Media, ...]:
    """The file of a video of a data set that names its files by its ids."""
    return (Media(kind="video", path=f"{uid}.mp4"),)


def uid_of(item: Item) -> str:
    """
    Raises:
        Refusal: the item is not named by a text.
    """
    if not isinstance(item.id, str):
        raise Refusal("", "it has no uid", "give the item an id that is text")
    return item.id


def decode(record: Record) -> Item:
    uid, value = record["key"], dict(taken(record, "value", dict))
    events: list[Event] = []
    for name in [name for name in value if name.startswith(_PASS)]:
        found = dict(taken(value, name, dict))
        for number, each in enumerate(objects(taken(found, "narrations", list, default=[], what=name), f"{name} narration"), 1):
            what = f"{name} narration {number}"
            start = taken(each, "timestamp_sec", float, what=what)
            events.append(Event(start=start, text=taken(each, "narration_text", str, what=what), kind=name, extra=each))
        for number, each in enumerate(objects(taken(found, "summaries", list, default=[], what=name), f"{name} summary"), 1):
            what = f"{name} summary {number}"
            start, end = taken(each, "start_sec", float, what=what), taken(each, "end_sec", float, what=what)
            if end < start:
                raise Refusal(what, "it ends before it starts", "mend the record")
            text = taken(each, "summary_text", str, what=what)
            events.append(Event(start=start, end=end, text=text, kind=name + _SUMMARIES, extra=each))
        if found:
            value[name] = found
    return Item(id=uid, media=video(uid), events=tuple(events), extra=value)


def encode(item: Item) -> Record:
    value: Record = {name: each for name, each in item.extra.items() if not name.startswith(_PASS)}
    for number, event in enumerate(item.events, 1):
        name = event.kind.removesuffix(_SUMMARIES)
        if not name.startswith(_PASS):
            raise Refusal(f"event {number}", f"its kind is {event.kind[:40]!r}, not {_PASS}_1 or so", "write serval items")
        beside = item.extra.get(name, {})
        lists = value.setdefault(name, {"narrations": [], "summaries": [], **(beside if isinstance(beside, dict) else {})})
        if event.kind.endswith(_SUMMARIES):
            said = {"start_sec": event.start, "end_sec": event.end, "summary_text": event.text}
            lists["summaries"].append({**said, **event.extra})
        else:
            lists["narrations"].append({"timestamp_sec": event.start, "narration_text": event.text, **event.extra})
    return {"key": uid_of(item), "value": value}


EGO4D = Format("ego4d", "Ego4D's narrations", Tree("videos", keyed=True, bare=True), decode, encode)
