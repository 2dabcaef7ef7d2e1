"""Evidence carries outlines: of persons, in the very picture, when something is said."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from serval.assistant.event import Event, EventKind, Evidence
from serval.assistant.utterance import outlined
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.outline import CORNERS
from serval.weights import model_id

SHAPE = ((0.1, 0.1), (0.3, 0.1), (0.2, 0.9))
BOXES = [Box(0.1 * each, 0.1, 0.1 * each + 0.1, 0.9) for each in range(6)]


class Scripted:
    """Draws the same around everybody it is asked about but the person in ``blind``."""

    model = "pencil 1 (00000000)"

    def __init__(self, blind=None):
        self.blind, self.asked = blind, []

    def around(self, frame, box):
        self.asked.append(box)
        return () if box == self.blind else SHAPE


@pytest.fixture
def frame():
    return Frame.from_rgb(np.zeros((9, 16, 3), np.uint8), source="street", time=2.0)


def event(*evidence):
    return Event(id="e", source="street", t_start=2.0, t_end=2.0, said_at=2.0, text="…", evidence=evidence)


def test_the_surest_three_persons_of_this_very_picture_are_drawn_around(frame):
    people = [
        Evidence(time=2.0, frame=frame.sha256, box=box, label="person", score=0.1 * place) for place, box in enumerate(BOXES)
    ]
    others = [
        Evidence(time=1.0, frame="an earlier one", box=BOXES[0], label="person", score=1.0),
        Evidence(time=2.0, frame=frame.sha256, box=BOXES[0], label="car", score=1.0),
        Evidence(time=2.0, frame=frame.sha256, label="person", score=1.0),
    ]
    pencil = Scripted(blind=BOXES[4])
    told = outlined(event(*people, *others), frame, pencil)
    assert pencil.asked == BOXES[5:2:-1]
    assert [each.outline for each in told.evidence] == [(), (), (), SHAPE, (), SHAPE, (), (), ()]
    assert told.models == {"outlines": pencil.model}
    assert [each.model_copy(update={"outline": ()}) for each in told.evidence] == [*people, *others]


def test_where_nothing_was_drawn_the_event_is_as_it_was(frame):
    said = event(Evidence(time=2.0, frame=frame.sha256, box=BOXES[0], label="person", score=1.0))
    assert outlined(said, frame, Scripted(blind=BOXES[0])) is said


def test_an_outline_comes_back_from_the_timeline_and_a_large_one_does_not(frame):
    kept = Evidence(time=2.0, frame=frame.sha256, box=BOXES[0], label="person", outline=SHAPE)
    assert Evidence.model_validate_json(kept.model_dump_json()) == kept
    body = json.loads(kept.model_dump_json())
    for wrong in ([[0.1, 0.1]] * (CORNERS + 1), [[0.1]], [["a", 0.1]], "x", [0.1]):
        with pytest.raises(ValidationError):
            Evidence.model_validate(body | {"outline": wrong})
    del body["outline"]  # as timelines had it before
    assert Evidence.model_validate(body).outline == ()


@pytest.mark.usefixtures("detector")
def test_people_of_the_street_are_drawn_around_where_they_were_seen(bikes):
    said = [each for each in bikes.events if each.kind is EventKind.UTTERANCE]
    drawn = [each for event in said for each in event.evidence if each.outline]
    assert len(drawn) >= 2 and {each.label for each in drawn} == {"person"}
    for each in drawn:
        left, top, right, bottom = each.box.grow(1.1)
        assert sum(left <= x <= right and top <= y <= bottom for x, y in each.outline) > 0.8 * len(each.outline)
        assert len(each.model_dump_json()) < 1500
    assert {event.models["outlines"] for event in said if any(each.outline for each in event.evidence)} == {
        model_id("mediapipe")
    }
