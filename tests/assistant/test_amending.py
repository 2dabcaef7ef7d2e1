"""Instructions that a person changes under a running watch take effect, are told, and are replayed where they came."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from serval.assistant.amending import Amending
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.ask.asking import ask_run
from serval.assistant.assembly import Standing, Understood, assemble
from serval.assistant.event import EventKind
from serval.assistant.instructions.live_file import LiveFile
from serval.assistant.instructions.store import acknowledge, add, load, remove
from serval.assistant.instructions.understand import understand
from serval.assistant.replay import replay
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.run import RunInfo, SourceInfo
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=timezone(timedelta(hours=1)))
PARTS = {"objects": "street 1 (00000000)"}
PLACES = {"person": Box(0.1, 0.2, 0.3, 0.9), "dog": Box(0.6, 0.5, 0.9, 0.9)}


class Street:
    """People and dogs come for three seconds of every ten, the dogs five seconds after the people."""

    def __init__(self) -> None:
        self.models = dict(PARTS)

    def there(self, time: float) -> list[str]:
        return [label for label, at in (("person", 2), ("dog", 7)) if at <= time % 10 < at + 3]

    def frames(self, until: float):
        for index in range(int(until * 4)):
            for source in ("front", "back"):
                rgb = np.full((90, 160, 3), 60, np.uint8)
                for number, label in enumerate(self.there(index / 4)):
                    left, top, right, bottom = PLACES[label].pixels(160, 90)
                    rgb[top:bottom, left:right] = 180 + 40 * number
                yield Frame.from_rgb(rgb, source=source, index=index, time=index / 4)

    def look(self, frame: Frame, looks: Looks) -> Percept:
        found = []
        for label in self.there(frame.time):
            scores = np.zeros(80, np.float32)
            scores[COCO.index(label)] = np.float16(0.9)
            found.append(Detection(Box(*(float(np.float32(side)) for side in PLACES[label])), scores))
        seen, hands = tuple(found) if looks.detect else None, () if looks.hands else None
        return Percept(frame.source, frame.index, frame.time, frame.luma, frame.sha256, 160, 90, detections=seen, hands=hands)


def understood(instruction):
    return Understood(instruction, understand(instruction.text, abilities=Looks(detect=True, hands=True)))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "instructions.yaml"
    add(path, "tell me when a person comes in", id="person")
    return path


@pytest.fixture
def watch(path, tmp_path):
    """Watch the street while ``edits`` are made to the file: {seconds: what is done then}. Returns all events."""

    def run(edits, until=40, others=()):
        folder, street, told = tmp_path / "run", Street(), []
        written = load(path)
        held = [understood(each) for each in [*written, *others]]
        standing = Standing(held)

        def equip(understandings):
            street.models = PARTS | ({"hands": "hand finder"} if len(understandings) > 2 else {})
            return dict(street.models)

        with Timeline.open(folder) as timeline, Recording.open(folder) as recording:
            watcher = assemble(
                standing,
                looker=street,
                answerer=TemplateAnswerer(),
                timeline=timeline,
                recording=recording,
                on_event=told.append,
                started=NINE,
            )
            file = LiveFile(path, written, others=others, check=lambda each: standing.try_out(understood(each)))
            amending = Amending(file, standing, watcher, understand=understood, equip=equip, started=NINE)
            entries = [
                {
                    "instruction": each.instruction.model_dump(mode="json", by_alias=True),
                    "understanding": each.understanding.model_dump(mode="json"),
                }
                for each in held
            ]
            sources = tuple(SourceInfo(name=name, address=name, live=True) for name in ("front", "back"))
            arguments = {"standing": entries, "answerer": "template", "gate": None, "pace": "fast"}
            timeline.start(RunInfo(sources=sources, parts=PARTS, arguments=arguments, started=NINE))
            waiting = sorted(edits.items())
            for frame in street.frames(until):
                while waiting and frame.time >= waiting[0][0]:
                    waiting.pop(0)[1]()
                amending.before(frame)
                watcher.observe(frame)
            watcher.finish()
        difference = replay(folder)
        assert difference.identical, (difference.text, difference.only_left, difference.only_right, difference.pairs)
        assert len(difference.pairs) == len(told)
        return told

    return run


def words(told):
    return [event.text for event in told if event.kind is EventKind.INSTRUCTION]


def spoke(told, name, source="front"):
    return [
        round(event.t_start)
        for event in told
        if event.kind is EventKind.UTTERANCE and event.instruction == name and event.source == source
    ]


def test_an_instruction_that_is_added_is_watched_for_on_every_source_from_then_on(watch, path):
    told = watch({14: lambda: add(path, "tell me when a dog comes in", id="dog")})
    assert spoke(told, "dog") == spoke(told, "dog", "back") == [17, 27, 37]
    assert spoke(told, "person") == [2, 12, 22, 32]
    (said,) = words(told)
    assert said.startswith("From now on: I will tell you when a dog comes into view.")


def test_an_instruction_that_is_removed_is_silent_from_then_on(watch, path):
    told = watch({14: lambda: remove(path, "person")})
    assert spoke(told, "person") == spoke(told, "person", "back") == [2, 12]
    assert words(told) == ["No longer: tell me when a person comes in"]


def test_an_instruction_in_other_words_begins_anew(watch, path):
    add(path, "tell me when a dog comes in", id="once", rearm="once")
    told = watch({14: lambda: path.write_text(path.read_text("utf-8").replace("a dog comes in", "a dog leaves"), "utf-8")})
    assert spoke(told, "once")[0] == 7
    assert len(spoke(told, "once")) == 2  # once before, once after
    assert words(told)[0].startswith("From now on: I will tell you when a dog goes out of view.")


def test_unchanged_instructions_keep_what_they_know(watch, path):
    """A change beside it, in the middle of a visit, neither repeats that visit nor ends a cooldown."""
    add(path, "tell me when a dog comes in", id="dog", cooldown=15)
    told = watch({2.5: lambda: add(path, "tell me when a cat comes in", id="cat"), 13: lambda: remove(path, "cat")})
    assert spoke(told, "person") == [2, 12, 22, 32]
    assert spoke(told, "dog") == [7, 27]
    assert len(words(told)) == 2


def test_acknowledged_it_speaks_again(watch, path):
    add(path, "tell me when a dog comes in", id="dog", rearm="acknowledged")
    told = watch({20: lambda: acknowledge(path, "dog")})
    assert spoke(told, "dog") == spoke(told, "dog", "back") == [7, 27]
    assert words(told) == ["Acknowledged: tell me when a dog comes in"]


def test_expiry_is_told_when_it_comes(watch, path):
    add(path, "tell me when a dog comes in", id="dog", expires=NINE + timedelta(seconds=12.2))
    told = watch({})
    assert spoke(told, "dog") == [7]
    (said,) = [event for event in told if event.kind is EventKind.INSTRUCTION]
    assert said.text == "“tell me when a dog comes in” has expired"
    assert 12.2 <= said.t_start < 13.5


def test_a_broken_file_changes_nothing_and_is_told_once(watch, path):
    def broken():
        path.write_text("- id: person\n  text: [", "utf-8")

    told = watch({11: broken, 15: lambda: path.write_text("nonsense", "utf-8")})
    assert spoke(told, "person") == [2, 12, 22, 32]
    (said,) = words(told)
    assert said.startswith("The instructions file is not taken as it stands now (instructions.yaml")


def test_what_cannot_be_watched_for_says_so_and_a_gate_that_is_none_is_refused(watch, path):
    told = watch(
        {
            3: lambda: add(path, "tell me when Anna comes in", id="anna"),
            10: lambda: add(path, "tell me when a cat comes in", id="cat", gate="nonsense"),
        }
    )
    first, second = words(told)
    assert first.startswith("From now on: I cannot watch for that")
    assert "nonsense" in second and second.startswith("The instructions file is not taken")
    assert spoke(told, "person") == [2, 12, 22, 32]


def test_a_change_names_the_parts_that_are_in_use_from_then_on(watch, path):
    told = watch({14: lambda: (add(path, "tell me when a cat comes in"), add(path, "tell me when a dog comes in", id="dog"))})
    models = {round(event.t_start): set(event.models) for event in told if event.kind is EventKind.UTTERANCE}
    assert models[2] == models[12] == {"objects"}
    assert models[17] == models[22] == {"objects", "hands"}


def test_what_only_a_later_instruction_looked_for_can_be_asked_about(watch, path, tmp_path):
    path.write_text("- id: person\n  text: tell me when Anna comes in\n", "utf-8")
    watch({14: lambda: add(path, "tell me when a dog comes in", id="dog")})
    assert "17" in ask_run(tmp_path / "run", "when did the dog appear?").text
