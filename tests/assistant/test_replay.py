"""A run decided again: the same parts give the same words, other parts other words, and never a crash."""

import pytest

from serval.assistant.event import EventKind
from serval.assistant.replay import RecordedEyes, admitted, opened_run, replay
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.percept import Looks
from serval.refusal import Refusal


def test_the_same_parts_reproduce_the_run(bikes):
    difference = replay(bikes.folder)
    assert difference.identical, [(pair.left.text, pair.differs) for pair in difference.pairs if pair.differs]
    assert len(difference.pairs) == len(bikes.events)


def test_twice_fast_is_the_same_run(watched, short, tmp_path):
    one, two = (watched(tmp_path / name, short, tell=("describe every new scene",)) for name in ("one", "two"))
    assert one.events == two.events
    assert one.said()


@pytest.mark.parametrize("gate", ["novelty", "everything", "objects", "text", "every:30"])
def test_another_gate_makes_a_difference_and_no_crash(bikes, gate):
    difference = replay(bikes.folder, gate=gate)
    assert not difference.identical
    told = {pair.right.id for pair in difference.pairs} | {event.id for event in difference.only_right}
    readings = {event.id for event in bikes.events if event.kind is EventKind.INSTRUCTION}
    assert readings < told


def test_polling_asks_every_second_and_says_it_once(bikes, tmp_path):
    seen: list[float] = []
    difference = replay(bikes.folder, gate="poll:1", to=tmp_path / "polled", progress=seen.append)
    assert not difference.identical
    assert seen == sorted(seen) and len(seen) > 75
    with Timeline.open(tmp_path / "polled", write=False) as timeline:
        wakes = [row.time for row in timeline.traced(instruction="taxi-sign-visible") if row.action == "wake"]
        said = [event for event in timeline.events(kind=EventKind.UTTERANCE) if event.instruction == "taxi-sign-visible"]
    assert wakes == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], abs=0.13)
    assert said and all(event.why_now and event.why_now.gate == "poll:1" for event in said)
    assert {event.t_end for event in said} <= set(wakes)


def test_an_instruction_that_hears_nothing_new_keeps_silent_when_polled(bikes, tmp_path):
    replay(bikes.folder, gate="poll:1", to=tmp_path / "often")
    with Timeline.open(tmp_path / "often", write=False) as timeline:
        people = list(timeline.events(kind=EventKind.UTTERANCE, instruction="person-comes-in"))
        wakes = sum(row.action == "wake" for row in timeline.traced(instruction="person-comes-in"))
    assert 0 < len(people) < wakes == 10
    assert all("person" in event.text.lower() or "people" in event.text.lower() for event in people)


def test_the_inputs_come_in_the_order_of_time_with_the_notes_of_the_source(bikes):
    timeline, recording, info = opened_run(bikes.folder)
    with timeline, recording:
        times = [item.time for item in admitted(timeline, recording)]
        eyes = RecordedEyes(recording, info.parts)
        frame = next(item for item in admitted(timeline, recording) if hasattr(item, "luma"))
        eyes.look(frame, Looks(faces=True))
    assert times == sorted(times) and len(times) == 82
    assert eyes.missed == 1


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(Refusal):
        replay(tmp_path)
    Timeline.open(tmp_path / "half").close()
    with pytest.raises(Refusal, match="does not say what it was made of"):
        replay(tmp_path / "half")


def test_replaying_leaves_the_run_as_it_was(bikes):
    before = {path.name: path.read_bytes() for path in bikes.folder.iterdir()}
    replay(bikes.folder, gate="poll:2")
    assert {path.name: path.read_bytes() for path in bikes.folder.iterdir()} == before
