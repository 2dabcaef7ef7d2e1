"""The event loop on a scripted street: what each standing instruction says and holds back, and that frames never wait."""

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.assembly import Understood, assemble
from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.understand import understand
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame
from serval.sources.source import NoteKind, SourceNote

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=timezone(timedelta(hours=1)))  # a Monday
MIDDLE, LEFT = Box(0.4, 0.2, 0.6, 0.9), Box(0.1, 0.2, 0.25, 0.9)
VISITS = ((3.0, 5.5), (10.0, 12.5), (17.0, 19.5))


@dataclass
class Street:
    """A grey picture in which things stand for a while, each a bright patch with a score of 0.9."""

    things: list[tuple[str, Box, float, float]] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=lambda: {"objects": "street 1 (00000000)"})

    def frames(self, until: float, source: str = "street", since: float = 0.0, fps: float = 4.0):
        for index in range(round(since * fps), round(until * fps)):
            rgb = np.full((90, 160, 3), 60, np.uint8)
            for number, (_, box, start, end) in enumerate(self.things):
                if start <= index / fps < end:
                    left, top, right, bottom = box.pixels(160, 90)
                    rgb[top:bottom, left:right] = 160 + 20 * (number % 4)
            yield Frame.from_rgb(rgb, source=source, index=index, time=index / fps)

    def look(self, frame: Frame, looks: Looks) -> Percept:
        found = []
        for label, box, start, end in self.things:
            if start <= frame.time < end:
                scores = np.zeros(80, np.float32)
                scores[COCO.index(label)] = 0.9
                found.append(Detection(box, scores))
        seen = tuple(found) if looks.detect else None
        hands = () if looks.hands else None
        return Percept(frame.source, frame.index, frame.time, frame.luma, frame.sha256, 160, 90, detections=seen, hands=hands)


def standing(text: str, **fields: object) -> Understood:
    name = str(fields.pop("id", "it"))
    return Understood(
        Instruction.model_validate({"id": name, "text": text, **fields}),
        understand(text, abilities=Looks(detect=True, hands=True)),
    )


def visitors(*visits: tuple[float, float], box: Box = MIDDLE) -> Street:
    return Street([("person", box, start, end) for start, end in visits])


@pytest.fixture
def timeline(tmp_path):
    with Timeline.open(tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def play(timeline):
    """Let instructions watch a street; their events, and why they held back."""

    def run(street: Street, *held: Understood, until: float = 24.0, **options: object):
        told = []
        watcher = assemble(
            held, looker=street, answerer=TemplateAnswerer(), timeline=timeline, on_event=told.append, started=NINE, **options
        )
        watcher.run(street.frames(until))
        silences = [row.why for row in timeline.traced() if row.action == "held"]
        return [event for event in told if event.kind == "utterance"], silences

    return run


class TestInstructions:
    def test_each_visit_is_told_once(self, play):
        said, held = play(visitors(*VISITS), standing("tell me when a person comes in"))
        assert [round(event.t_start) for event in said] == [3, 10, 17]
        assert all("person" in event.text for event in said) and held == []

    def test_cooldown(self, play):
        said, held = play(visitors(*VISITS), standing("tell me when a person comes in", cooldown=10))
        assert [round(event.t_start) for event in said] == [3, 17]
        assert len(held) == 1 and "keeps silent for" in held[0]

    def test_once(self, play):
        said, held = play(visitors(*VISITS), standing("tell me when a person comes in", rearm="once"))
        assert [round(event.t_start) for event in said] == [3]
        assert len(held) == 2 and "speak once" in held[0]

    def test_waits_to_be_acknowledged(self, play):
        said, held = play(visitors(*VISITS), standing("tell me when a person comes in", rearm="acknowledged"))
        assert len(said) == 1 and len(held) == 2 and "not acknowledged yet" in held[0]

    def test_expiry(self, play):
        until = NINE + timedelta(seconds=8)
        said, held = play(visitors(*VISITS), standing("tell me when a person comes in", expires=until))
        assert [round(event.t_start) for event in said] == [3]
        assert len(held) == 2 and "expired at 2026-03-02 09:00" in held[0]

    def test_schedule(self, play):
        asleep = standing("tell me when a person comes in", id="asleep", schedule={"start": "09:01", "end": "17:00"})
        sunday = standing("tell me when a person comes in", id="sunday", schedule={"days": ["sun"]})
        awake = standing("tell me when a person comes in", id="awake", schedule={"days": ["mon"], "start": "08:00"})
        said, held = play(visitors(*VISITS), asleep, sunday, awake)
        assert {event.instruction for event in said} == {"awake"} and len(said) == 3
        assert len(held) == 6 and all("awake only" in why for why in held)

    def test_switched_off(self, play):
        assert play(visitors(*VISITS), standing("tell me when a person comes in", enabled=False)) == ([], [])

    def test_the_most_urgent_speaks_first(self, play):
        low, high = (
            standing("tell me when a person comes in", id=name, priority=priority)
            for name, priority in (("low", -3), ("high", 7))
        )
        said, _ = play(visitors(VISITS[0]), low, high, until=8)
        assert [event.instruction for event in said] == ["high", "low"]

    def test_counts(self, play):
        street = Street([("person", MIDDLE, 3, 14), ("person", LEFT, 8, 14)])
        said, _ = play(street, standing("tell me when more than one person is there"))
        assert len(said) == 1 and 8 <= said[0].t_end < 10

    def test_what_happens_together_is_told_together(self, play):
        street = Street([("person", MIDDLE, 3, 14), ("dog", Box(0.8, 0.6, 0.95, 0.9), 3.25, 14)])
        said, _ = play(street, standing("tell me when a person or a dog comes in"), until=10)
        assert len(said) == 1
        assert "person" in said[0].text and "dog" in said[0].text
        assert {each.label for each in said[0].evidence} >= {"person", "dog"}
        assert all(each.frame and each.time <= said[0].t_end for each in said[0].evidence)
        assert said[0].t_start == 3.0 and said[0].t_end <= said[0].said_at <= 4.0

    def test_data_satisfies_the_schema(self, play):
        schema = {
            "type": "object",
            "properties": {"count": {"type": "integer", "minimum": 1}, "subject": {"type": "string"}},
            "required": ["count", "subject"],
            "additionalProperties": False,
        }
        said, _ = play(visitors(*VISITS), standing("tell me when a person comes in", schema=schema))
        assert len(said) == 3
        for event in said:
            Draft202012Validator(schema).validate(event.data)
            assert event.data["count"] == 1 and event.data["subject"] == "person"

    def test_what_cannot_be_watched_for_is_said_and_costs_nothing(self, play):
        held = standing("tell me when the postman is angry")
        assert held.understanding.target == "nothing" and "cannot" in held.understanding.cannot
        street = visitors(*VISITS)
        street.look = None  # would fail at the first look
        assert play(street, held) == ([], [])


def test_sources_are_told_apart_and_patterns_are_held_to(timeline):
    yard, front = visitors((3.0, 8.0)), visitors((5.0, 8.0), box=LEFT)
    everywhere = standing("tell me when a person comes in", id="everywhere")
    fronts = standing("tell me when a person comes in", id="fronts", sources=("front-*",))

    class Both:
        models = yard.models

        def look(self, frame, looks):
            return (yard if frame.source == "yard" else front).look(frame, looks)

    told = []
    watcher = assemble(
        (everywhere, fronts), looker=Both(), answerer=TemplateAnswerer(), timeline=timeline, on_event=told.append, started=NINE
    )
    for pair in zip(yard.frames(10, "yard"), front.frames(10, "front-door"), strict=True):
        for frame in pair:
            watcher.observe(frame)
    watcher.finish()
    assert sorted((event.instruction, event.source) for event in told) == [
        ("everywhere", "front-door"),
        ("everywhere", "yard"),
        ("fronts", "front-door"),
    ]
    assert set(watcher.status().frames) == {"yard", "front-door"}
    assert all(each.source == event.source for event in told for each in event.evidence)


class Slow:
    """Answers nothing until it is let go."""

    name, models = "slow", {}

    def __init__(self) -> None:
        self.asked, self.go, self.threads = threading.Event(), threading.Event(), set()
        self.words = TemplateAnswerer()

    def answer(self, request, cancelled=lambda: False):
        self.threads.add(threading.current_thread().name)
        self.asked.set()
        assert self.go.wait(20)
        return self.words.answer(request)


def test_frames_never_wait_for_a_slow_answerer(timeline, tmp_path):
    street, slow, told = visitors(*VISITS), Slow(), []
    held = [standing("tell me when a person comes in", id=f"ask-{number}", priority=-number) for number in range(11)]
    with Recording.open(tmp_path / "run") as recording:
        watcher = assemble(
            held,
            looker=street,
            answerer=slow,
            timeline=timeline,
            recording=recording,
            threaded=True,
            now=lambda: 6.0,
            started=NINE,
            on_event=lambda event: told.append((threading.current_thread().name, event)),
        )
        frames = list(street.frames(30))
        for frame in frames[:20]:
            watcher.observe(frame)
        assert slow.asked.wait(10)
        for frame in frames[20:40]:
            watcher.observe(frame)  # would never come back if it waited for the answer
        status = watcher.status()
        assert status.frames == {"street": 40}
        assert status.waiting == 9 and status.said == 0
        dropped = [event for _, event in told]
        assert [(event.data["note"], event.data["reason"]) for event in dropped] == [("wake dropped", "busy")] * 2
        lost = {event.instruction for event in dropped}
        assert lost < {"ask-8", "ask-9", "ask-10"}  # which two depends on when the desk took the first
        slow.go.set()
        watcher.finish()
    said = [(thread, event) for thread, event in told if event.kind == "utterance"]
    assert {thread for thread, _ in said} == {"serval-desk"} == slow.threads
    assert [event.instruction for _, event in said] == [
        name for name in (f"ask-{each}" for each in range(11)) if name not in lost
    ]
    assert all(event.said_at == 6.0 > event.t_end for _, event in said)
    kept = {event.id for event in timeline.events()}
    assert kept == {event.id for _, event in told}


@pytest.mark.parametrize("threaded", [False, True])
def test_an_answerer_that_fails_ends_nothing(timeline, threaded):
    street, told = visitors(*VISITS), []

    class Failing(TemplateAnswerer):
        calls = 0

        def answer(self, request, cancelled=lambda: False):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("no words")
            return super().answer(request)

    watcher = assemble(
        [standing("tell me when a person comes in")],
        looker=street,
        answerer=Failing(),
        timeline=timeline,
        threaded=threaded,
        now=lambda: 20.0 if threaded else 0.0,
        started=NINE,
        on_event=told.append,
    )
    watcher.run(street.frames(24))
    assert "failed" in [event.data.get("reason") for event in told]
    assert [event for event in told if event.kind == "utterance"]


def test_what_happens_to_a_source_is_told_once_and_ends_what_was_pending(timeline):
    street, told = Street([("person", MIDDLE, 3.0, 9.0), ("dog", Box(0.8, 0.6, 0.95, 0.9), 3.5, 9.0)]), []
    watcher = assemble(
        [standing("tell me when a person comes in")],
        looker=street,
        answerer=TemplateAnswerer(),
        timeline=timeline,
        on_event=told.append,
        started=NINE,
    )
    for frame in street.frames(6):
        watcher.observe(frame)
        if watcher._stations["street"].pending:
            break
    assert told == []
    watcher.note(SourceNote(NoteKind.ENDED, "street", 5.0, "street ended", {"pictures": 20}))
    watcher.finish()
    assert [event.kind for event in told] == ["utterance", "source"]
    assert told[1].data == {"note": "ended", "pictures": 20}


def test_every_frame_of_every_instruction_leaves_a_trace(timeline, play):
    a, b = standing("tell me when a person comes in", id="a"), standing("say when a dog leaves", id="b")
    play(visitors(VISITS[0]), a, b, until=8)
    rows = list(timeline.traced())
    assert len(rows) == 2 * 32
    assert {row.action for row in rows if row.instruction == "b"} <= {"silent", "standby"}
    assert all(row.why for row in rows)
