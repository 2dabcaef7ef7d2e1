"""Wording: not the same sentence twice in a row where a replay can know what was said, and never where it cannot."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from serval.assistant.answers.answer import Answer
from serval.assistant.assembly import Understood, assemble
from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.understand import understand
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.timeline.why import why
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame

BOX = Box(0.4, 0.2, 0.6, 0.9)
VISITS = tuple((3.0 + 7 * turn, 5.5 + 7 * turn) for turn in range(5))


class Door:
    """Somebody stands there for a while, again and again."""

    models: dict[str, str] = {}  # noqa: RUF012

    def look(self, frame, looks):
        found = ()
        if any(start <= frame.time < end for start, end in VISITS):
            scores = np.zeros(80, np.float32)
            scores[COCO.index("person")] = 0.9
            found = (Detection(BOX, scores),)
        seen, hands = found if looks.detect else None, () if looks.hands else None
        return Percept(frame.source, frame.index, frame.time, frame.luma, frame.sha256, 160, 90, detections=seen, hands=hands)

    def frames(self, source):
        for index in range(38 * 4):
            rgb = np.full((90, 160, 3), 60, np.uint8)
            if any(start <= index / 4 < end for start, end in VISITS):
                left, top, right, bottom = BOX.pixels(160, 90)
                rgb[top:bottom, left:right] = 200
            yield Frame.from_rgb(rgb, source=source, index=index, time=index / 4)


@dataclass
class Heard:
    """Numbers its answers and keeps what it was told of the ones before."""

    name: str = "heard"
    models: dict[str, str] = field(default_factory=dict)
    before: list[tuple[str, ...]] = field(default_factory=list)

    def answer(self, request, cancelled=lambda: False):
        self.before.append(request.said_before)
        return Answer(
            f"{request.source} {len(self.before)}.", "template", why="the rewrite was not supported: “unicorn” is in no fact"
        )


@pytest.fixture
def watch(tmp_path):
    def run(*sources, **options):
        text = "tell me when a person comes in"
        held = Understood(Instruction(id="it", text=text), understand(text, abilities=Looks(detect=True, hands=True)))
        heard, told = Heard(), []
        with Timeline.open(tmp_path / "run") as timeline:
            watcher = assemble(
                [held], looker=Door(), answerer=heard, timeline=timeline, on_event=told.append, now=lambda: 0.0, **options
            )
            watcher.run(item for items in zip(*map(Door().frames, sources), strict=True) for item in items)
        return heard.before, [event for event in told if event.kind == "utterance"]

    return run


def test_the_last_three_of_the_same_source_are_known(watch):
    before, said = watch("door")
    assert len(said) == 5
    assert before == [tuple(event.text for event in said[max(0, turn - 3) : turn]) for turn in range(5)]


def test_each_source_has_its_own(watch):
    before, said = watch("door", "gate")
    assert len(said) == 10
    assert all(len({text.split()[0] for text in each}) <= 1 for each in before)


@pytest.mark.parametrize("options", [{"threaded": True}, {"in_order": False}])
def test_in_real_time_and_in_its_replay_nothing_is_known(watch, options):
    before, said = watch("door", **options)
    assert len(said) == 5 and before == [()] * 5


def test_why_other_words_were_heard_stands_in_the_event_and_in_its_explanation(watch, tmp_path):
    _, said = watch("door")
    assert all("unicorn" in event.answer_why for event in said)
    with Timeline.open(tmp_path / "run", write=False) as timeline:
        assert "As to the words: the rewrite was not supported: “unicorn” is in no fact." in why(timeline, said[0].t_end).text
