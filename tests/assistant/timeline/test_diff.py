from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline.diff import diff


def event(name: str, at: float, **more: object) -> Event:
    fields = {"id": name, "source": "door", "instruction": "hand", "t_start": at, "t_end": at, "said_at": at, "text": "A cup."}
    return Event(**{**fields, **more})


events = st.lists(
    st.builds(
        event,
        name=st.uuids().map(str),
        at=st.floats(0, 30),
        source=st.sampled_from(["door", "yard"]),
        instruction=st.sampled_from(["hand", "taxi", None]),
        kind=st.sampled_from([EventKind.UTTERANCE, EventKind.SOURCE]),
        text=st.sampled_from(["A cup.", "A taxi."]),
    ),
    max_size=12,
)


def test_matched_moved_changed_and_missing_are_told_apart():
    left = [event("1", 1.0), event("2", 5.0), event("3", 9.0), event("4", 20.0)]
    right = [event("a", 1.0), event("b", 5.5), event("c", 9.0, text="Two cups."), event("d", 30.0)]
    found = diff(left, right)
    assert [(pair.left.id, pair.right.id, pair.differs) for pair in found.pairs] == [
        ("1", "a", ()),
        ("2", "b", ("t_start", "t_end", "said_at")),
        ("3", "c", ("text",)),
    ]
    assert found.pairs[1].moved == 0.5
    assert [each.id for each in found.only_left] == ["4"]
    assert [each.id for each in found.only_right] == ["d"]
    assert not found.identical
    assert found.text == "Different: 1 the same, 1 moved, 1 changed in place, 1 only left, 1 only right."
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as shown:
        console.print(found)
    assert "Two cups." in shown.get()
    assert "t_start" in shown.get()


def test_another_instruction_source_or_kind_is_another_thing():
    for change in ({"instruction": "taxi"}, {"source": "yard"}, {"kind": EventKind.ANSWER}):
        found = diff([event("1", 1.0)], [event("1", 1.0, **change)])
        assert not found.pairs
        assert len(found.only_left) == len(found.only_right) == 1


def test_equal_events_are_matched_before_near_ones():
    left = [event("1", 1.0, text="A taxi."), event("2", 1.0)]
    right = [event("a", 1.0), event("b", 1.0, text="A taxi."), event("c", 1.1)]
    found = diff(left, right)
    assert {(pair.left.id, pair.right.id) for pair in found.pairs} == {("1", "b"), ("2", "a")}
    assert [each.id for each in found.only_right] == ["c"]


def test_fields_that_do_not_matter_can_be_named():
    left, right = [event("1", 1.0)], [event("1", 1.0, said_at=2.5)]
    assert not diff(left, right).identical
    assert diff(left, right, ignore=("said_at",)).identical


@settings(max_examples=80)
@given(events, st.randoms())
def test_a_timeline_is_identical_to_itself_in_any_order_and_under_any_ids(given_events, random):
    other = [each.model_copy(update={"id": str(number)}) for number, each in enumerate(given_events)]
    random.shuffle(other)
    assert diff(given_events, other).identical


@settings(max_examples=80)
@given(events, events, st.floats(0, 5))
def test_every_event_is_told_of_exactly_once(left, right, tolerance):
    found = diff(left, right, tolerance=tolerance)
    assert sorted([pair.left.id for pair in found.pairs] + [each.id for each in found.only_left]) == sorted(e.id for e in left)
    assert sorted([pair.right.id for pair in found.pairs] + [each.id for each in found.only_right]) == sorted(
        e.id for e in right
    )
    assert all(abs(pair.moved) <= tolerance for pair in found.pairs)
    assert diff(right, left, tolerance=tolerance).identical == found.identical
