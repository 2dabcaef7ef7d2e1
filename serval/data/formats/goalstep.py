"""Ego4D Goal-Step (NeurIPS 2023): each video has a goal, which has steps, which have substeps, all with their times.

    {"videos": [{"video_uid": …, "start_time": 0.0, "end_time": 600.0, "goal_description": "make a salad", "goal_category": …,
                 "segments": [{"start_time": …, "end_time": …, "step_description": "wash the lettuce", "segments": […]}]}]}

The first event is the goal; a step's ``parent`` is the goal, a substep's its step.
"""

from __future__ import annotations

from serval.data.formats.ego4d import uid_of, video
from serval.data.formats.layout import Tree
from serval.data.formats.record import Format, Record, objects, taken
from serval.data.item import Event, Item
from serval.refusal import Refusal

KINDS = ("goal", "step", "substep")


def decode(record: Record) -> Item:
    uid = taken(record, "video_uid", str)
    events: list[Event] = []
    _read(record, "goal_description", "", None, 0, events)
    return Item(id=uid, media=video(uid), events=tuple(events))


def _read(record: Record, text: str, what: str, parent: int | None, depth: int, events: list[Event]) -> None:
    start, end = taken(record, "start_time", float, what=what), taken(record, "end_time", float, what=what)
    if end < start:
        raise Refusal(what, "it ends before it starts", "mend the record")
    inner = taken(record, "segments", list, default=[], what=what)
    said = taken(record, text, str, what=what)
    number = len(events)
    kind = KINDS[min(depth, len(KINDS) - 1)]
    events.append(Event(start=start, end=end, text=said, kind=kind, parent=parent, extra=record))
    for place, each in enumerate(objects(inner, f"{what} segment".strip()), 1):
        _read(each, "step_description", f"{what} segment {place}".strip(), number, depth + 1, events)


def encode(item: Item) -> Record:
    made: list[Record] = []
    for number, event in enumerate(item.events):
        if event.end is None or (event.parent is None) != (number == 0) or not (event.parent or 0) <= number:
            raise Refusal(f"event {number + 1}", "it is no step of one goal", "give each its end, and the step it is part of")
        text = "goal_description" if number == 0 else "step_description"
        step = {"start_time": event.start, "end_time": event.end, text: event.text, **event.extra}
        made.append(step)
        if event.kind != "substep":
            step["segments"] = []
        if event.parent is not None:
            made[event.parent].setdefault("segments", []).append(step)
    if not made:
        raise Refusal("", "it has no goal", "goalstep is one with steps")
    return {"video_uid": uid_of(item), **made[0]}


GOALSTEP = Format("goalstep", "Ego4D Goal-Step's goals, steps and substeps", Tree("videos"), decode, encode)
