"""The file of instructions: read back as written, kept whole, refused with its line, shared between processes."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.instructions import store
from serval.assistant.instructions.instruction import Instruction, Schedule
from serval.refusal import Refusal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "instructions.yaml"


def test_a_missing_file_holds_none(path):
    assert store.load(path) == []


INSTRUCTIONS = st.builds(
    Instruction,
    id=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80),
    sources=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3).map(tuple),
    priority=st.integers(-10, 10),
    cooldown=st.floats(0, 1e6),
    expires=st.none() | st.datetimes(timezones=st.just(UTC)),
    schedule=st.none() | st.just(Schedule(days=("mon", "fri"), start="22:00", end="06:00")),
    rearm=st.sampled_from(["always", "once", "acknowledged"]),
    gate=st.none() | st.just("novelty"),
    schema=st.none() | st.just({"type": "object", "properties": {"count": {"type": "integer"}}}),
    enabled=st.booleans(),
)


@settings(max_examples=50)
@given(st.lists(INSTRUCTIONS, max_size=5, unique_by=lambda each: each.id))
def test_read_back_as_written(tmp_path_factory, instructions):
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    store.save(path, instructions)
    assert store.load(path) == instructions


def test_add_and_remove(path):
    first = store.add(path, "tell me when a person comes in", priority=3, cooldown=30.0)
    second = store.add(path, "Tell me when a person comes in!")
    assert (first.id, second.id) == ("person-comes-in", "person-comes-in-2")
    assert first.created is not None
    assert store.load(path) == [first, second]
    assert store.remove(path, "person-comes-in") == first
    assert store.load(path) == [second]
    assert store.remove(path, second.id) == second
    assert store.load(path) == []
    with pytest.raises(Refusal, match="there is none in"):
        store.remove(path, "person-comes-in")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("describe every new scene", "describe-every-new-scene"),
        ("say when the sign reads “EXIT”", "sign-reads-exit"),
        ("tell me", "tell-me"),
        ("🙂", "instruction"),
        ("x" * 200, "x" * 48),
    ],
)
def test_ids_come_from_the_words(text, name):
    assert store.make_id(text) == name
    assert store.make_id(text, {name}) == f"{name}-2"


@given(st.text(min_size=1, max_size=500), st.sets(st.sampled_from(["instruction", "instruction-2", "a"])))
def test_any_text_has_a_new_id(text, taken):
    name = store.make_id(text, taken)
    assert name not in taken
    assert Instruction(id=name, text=text).id == name


def test_a_person_s_comments_are_kept(path):
    path.write_text("# doors\n- id: first\n  text: a person comes in  # anyone\n\n# yard\n- {id: second, text: a dog}\n")
    store.add(path, "a cat appears", id="third")
    assert path.read_text().startswith("# doors\n- id: first\n  text: a person comes in  # anyone\n\n# yard\n- {id: second")
    store.remove(path, "first")
    assert path.read_text().startswith("# doors\n\n# yard\n- {id: second, text: a dog}\n- id: third\n")
    assert [each.id for each in store.load(path)] == ["second", "third"]


def test_a_list_in_brackets_can_be_changed_too(path):
    path.write_text("[{id: first, text: a dog}, {id: second, text: a cat}]\n")
    store.add(path, "a bird appears", id="third")
    store.remove(path, "first")
    assert [each.id for each in store.load(path)] == ["second", "third"]


GOOD = "- id: a\n  text: a dog\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id: a\n", "must be a list"),
        ("just words", "must be a list"),
        (GOOD + "- id: b\n  txt: a cat\n", "line 3: there is no field “txt”; fields are id, text, sources"),
        (GOOD + "- id: b\n", "line 3: “text” is missing"),
        (GOOD + "- a cat\n", "line 3: an instruction has an id and a text"),
        (GOOD + "- id: Not An Id\n  text: a cat\n", "line 3: “id” string should match"),
        (GOOD + "- id: b\n  text: a cat\n  priority: 99\n", "line 3: “priority” input should be less"),
        (GOOD + GOOD, "line 3: a second instruction “a”"),
        (GOOD + "  schema: {type: string}\n", "line 1, schema: it must be of an object"),
        (GOOD + "  created: 2026-99-99\n", "value that is none"),
        ("- id: [\n", "not YAML"),
        ("- &a {id: a, text: b}\n- *a\n", "line 2: aliases are not allowed"),
        ("- id: !!python/object/apply:os.system ['true']\n", "not YAML"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        (GOOD * 201, "more than 200"),
        ("a" * (store.MAX_BYTES + 1), "not a file of at most 1 MB"),
    ],
)
def test_refused_with_its_line(path, text, says):
    path.write_text(text)
    with pytest.raises(Refusal) as refusal:
        store.load(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400 + len(str(path))


def test_not_text(path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match="not UTF-8"):
        store.load(path)
    with pytest.raises(Refusal, match="not a file"):
        store.load(path.parent)


@given(st.text(max_size=200))
def test_any_text_is_instructions_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, "utf-8")
    try:
        store.load(path)
    except Refusal as refusal:
        assert "\n" not in str(refusal)


def test_a_refused_change_leaves_the_file_as_it_was(path):
    path.write_text(GOOD)
    for fields in ({"priority": 99}, {"id": "a"}, {"schema": {"type": "string"}}, {"nonsense": 1}):
        with pytest.raises(Refusal):
            store.add(path, "a cat appears", **fields)
    assert path.read_text() == GOOD
    with pytest.raises(Refusal):
        store.save(path, [Instruction(id=f"n{n}", text="x") for n in range(201)])
    assert path.read_text() == GOOD


def test_no_room_for_more(path):
    store.save(path, [Instruction(id=f"n{n}", text="x") for n in range(200)])
    with pytest.raises(Refusal, match="200 is the most"):
        store.add(path, "a cat appears")
    assert len(store.load(path)) == 200


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(Refusal, match="cannot be written"):
        store.add(tmp_path / "no" / "instructions.yaml", "a cat appears")


ADDER = """
import sys
from pathlib import Path
from serval.assistant.instructions import store
for number in range(12):
    store.add(Path(sys.argv[1]), f"{sys.argv[2]} {number} appears")
"""


def test_two_processes_lose_nothing(path):
    adders = [subprocess.Popen([sys.executable, "-c", ADDER, str(path), name]) for name in ("dog", "cat")]
    assert [each.wait(60) for each in adders] == [0, 0]
    held = store.load(path)
    assert sorted(each.text for each in held) == sorted(f"{name} {n} appears" for name in ("dog", "cat") for n in range(12))
    assert len({each.id for each in held}) == 24
    assert [each.name for each in path.parent.iterdir() if each.suffix == ".new"] == []


def test_acknowledged(path):
    path.write_text(GOOD)
    assert store.acknowledged(path) == {}
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert store.acknowledge(path, "a", now).id == "a"
    assert store.acknowledged(path) == {"a": now}
    assert path.read_text() == GOOD
    with pytest.raises(Refusal):
        store.acknowledge(path, "b", now)
    path.with_name("instructions.yaml.acknowledged").write_text("{[")
    assert store.acknowledged(path) == {}
