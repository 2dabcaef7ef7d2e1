"""The item schema: exact as JSON, and nothing in it that cannot be."""

import json

import pytest
from hypothesis import given, settings

from serval.conversation.messages import Media, Message, Text
from serval.data.item import Event, Item, Region
from serval.data.stream import Stream
from serval.media.box import Box
from serval.refusal import Refusal

from .strategies import items


@settings(max_examples=25)
@given(items())
def test_an_item_is_equal_once_it_was_a_line(item):
    line = item.to_json()
    assert "\n" not in line
    assert Item.from_json(line) == item
    assert Item.from_json(line).to_json() == line


def test_what_is_usual_is_not_written():
    item = Item(id="a", messages=(Message.of("user", "hi"),))
    assert json.loads(item.to_json()) == {
        "id": "a",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    }


def test_empty_things_are_not_nothing():
    item = Item(
        id="",
        messages=(Message(role="user", name="", parts=(Text(text=""),)),),
        regions=(Region(segmentation=(), extra={"a": None}),),
        extra={"b": [], "c": {}, "d": ""},
    )
    assert Item.from_json(item.to_json()) == item


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"id": True}, "id str: input should be a valid string"),
        ({"speed": 1}, "speed: extra inputs are not permitted"),
        ({"unlearned": [0]}, "unlearned: 0 is not the number of something that the assistant says"),
        ({"events": [{"start": 2, "end": 1}]}, "events 0: it ends before it starts"),
        ({"events": [{"start": 2, "parent": 0}]}, "event 1 is part of an event that is not there"),
        ({"regions": [{"box": [0.5, 0, 0.2, 1]}]}, "goes from left to right"),
        ({"regions": [{"box": [0, 0, 1]}]}, "regions 0 box 3: field required"),
        (
            {"messages": [{"role": "user", "parts": [{"type": "media", "kind": "image", "attached": 0}]}]},
            "image 1 is to be beside",
        ),
        ({"messages": [{"role": "robot"}]}, "messages 0 role"),
        ({"stream": {"fps": 0}}, "stream fps"),
    ],
)
def test_a_wrong_record_is_refused_in_a_line(record, why):
    with pytest.raises(Refusal) as refused:
        Item.from_json(json.dumps(record))
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_numbers_and_texts_that_json_has_not_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        Item(extra={"a": [{"b": float("nan")}]})
    with pytest.raises(ValueError, match="finite"):
        Region(box=Box(0, 0, float("inf"), 1))
    with pytest.raises(ValueError, match="finite"):
        Event(start=float("nan"))
    with pytest.raises(Refusal, match="cannot be written"):
        Item.model_construct(**{**Item().__dict__, "extra": {"a": "\ud800"}}).to_json()


def test_messages_of_a_stream_stand_behind_frames_in_order():
    def said(*times):
        return tuple(Message(role="user", parts=(Text(text="a", time=time),)) for time in times)

    assert Item(stream=Stream(fps=2, first=1), messages=said(0.5, 0.5, 3.0))
    for times in ((0.7,), (0.0,), (2.0, 1.5), (None,)):
        with pytest.raises(ValueError, match=r"frame|ahead"):
            Item(stream=Stream(fps=2, first=1), messages=said(*times))


def test_media_beside_the_messages_are_found_by_kind():
    beside = (Media(kind="video", path="a.mp4"), Media(kind="image", path="b.png"))
    told = Message(role="user", parts=(Media(kind="image", attached=0),))
    assert Item(media=beside, messages=(told,))
    with pytest.raises(ValueError, match="image 1 is to be beside"):
        Item(media=beside[:1], messages=(told,))
