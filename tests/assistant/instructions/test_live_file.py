"""What a watch notices of its instructions file while it runs; the time is the test's own."""

from datetime import datetime, timedelta, timezone

import pytest

from serval.assistant.instructions.live_file import Change, LiveFile
from serval.assistant.instructions.store import acknowledge, add, load, remove
from serval.refusal import Refusal

NINE = datetime(2026, 3, 2, 9, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "instructions.yaml"
    add(path, "tell me when a dog comes in", id="dog")
    add(path, "tell me when a cat comes in", id="cat")
    return path


def looks(file, *times):
    return [(each.change, each.instruction.id) for time in times for each in file.look(time, NINE + timedelta(seconds=time))]


def watched(path, **options):
    file = LiveFile(path, load(path), **options)
    assert looks(file, 0, 1, 2) == []
    return file


def test_what_is_added_changed_and_removed(path):
    file = watched(path)
    add(path, "tell me when a bird comes in", id="bird")
    path.write_text(path.read_text("utf-8").replace("a cat", "an old cat"), "utf-8")
    remove(path, "dog")
    assert looks(file, 3, 4) == [(Change.REMOVED, "dog"), (Change.CHANGED, "cat"), (Change.ADDED, "bird")]
    assert looks(file, 5, 6, 7) == []


def test_what_was_changed_while_the_parts_were_loading(path):
    file = LiveFile(path, load(path)[:1])
    assert looks(file, 0, 1, 2) == [(Change.ADDED, "cat")]


def test_the_file_is_looked_at_once_a_second(path, monkeypatch):
    file = watched(path)
    counted = []
    stat = type(path).stat
    monkeypatch.setattr(type(path), "stat", lambda self, **more: counted.append(self.name) or stat(self, **more))
    for tick in range(400):
        file.look(3 + tick / 40, NINE)
    assert counted.count("instructions.yaml") == 10


def test_a_file_in_the_middle_of_being_written_is_not_taken(path):
    file = watched(path)
    whole = path.read_text("utf-8")
    path.write_text("", "utf-8")
    assert looks(file, 3) == []
    path.write_text(whole[: whole.index("- id: cat")], "utf-8")
    assert looks(file, 4) == []
    path.write_text(whole + "# the end\n", "utf-8")
    assert looks(file, 5, 6, 7) == []


@pytest.mark.parametrize("broken", ["- id: dog\n  text: [", "hello", "- id: dog\n  text: x\n  colour: red\n", None])
def test_a_broken_file_is_told_once_and_changes_nothing(path, broken):
    file = watched(path)
    whole = path.read_text("utf-8")
    path.unlink() if broken is None else path.write_text(broken, "utf-8")
    (told,) = [*file.look(3, NINE), *file.look(4, NINE)]
    assert told.change is Change.UNREADABLE
    assert told.why.startswith("instructions.yaml")
    path.write_text("still: broken", "utf-8")
    assert looks(file, 5, 6, 7) == []
    path.write_text(whole, "utf-8")
    assert looks(file, 8, 9) == []  # as it was
    path.write_text("", "utf-8")
    assert looks(file, 10, 11) == [(Change.REMOVED, "dog"), (Change.REMOVED, "cat")]


def test_what_cannot_be_watched_for_as_written_is_taken_as_a_whole_or_not_at_all(path):
    def check(instruction):
        if instruction.gate == "nonsense":
            raise Refusal("gate “nonsense”", "there is none of this name")

    file = watched(path, check=check)
    add(path, "tell me when a bird comes in", id="bird")
    add(path, "tell me when a bear comes in", id="bear", gate="nonsense")
    (told,) = [*file.look(3, NINE), *file.look(4, NINE)]
    assert (told.change, told.why) == (Change.UNREADABLE, "gate “nonsense”: there is none of this name")
    remove(path, "bear")
    assert looks(file, 5, 6) == [(Change.ADDED, "bird")]


def test_the_name_of_an_instruction_given_otherwise_is_taken(path):
    other = load(path)[1]
    file = LiveFile(path, load(path)[:1], others=[other])
    (told,) = [*file.look(0, NINE), *file.look(1, NINE)]
    assert told.change is Change.UNREADABLE and "--tell" in told.why


def test_acknowledgements(path):
    acknowledge(path, "cat", NINE - timedelta(days=1))
    file = watched(path)  # one from before the run is none
    acknowledge(path, "dog", NINE)
    assert looks(file, 3, 4) == [(Change.ACKNOWLEDGED, "dog")]
    acknowledge(path, "cat", NINE)
    acknowledge(path, "dog", NINE + timedelta(seconds=1))
    assert sorted(looks(file, 5, 6)) == [(Change.ACKNOWLEDGED, "cat"), (Change.ACKNOWLEDGED, "dog")]


@pytest.mark.parametrize("reread", [True, False])
def test_expiry_is_told_once(path, reread):
    add(path, "tell me when a bird comes in", id="bird", expires=NINE + timedelta(seconds=5))
    add(path, "tell me when a bear comes in", id="bear", expires=NINE + timedelta(seconds=5), enabled=False)
    file = LiveFile(path if reread else None, load(path)[:2], others=load(path)[2:]) if not reread else watched(path)
    assert looks(file, 3, 4.9) == []
    assert looks(file, 6, 7, 8) == [(Change.EXPIRED, "bird")]


def test_without_rereading_nothing_else_is_noticed(path):
    file = LiveFile(None, load(path))
    remove(path, "dog")
    assert looks(file, *range(9)) == []
