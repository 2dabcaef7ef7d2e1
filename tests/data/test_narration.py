"""Narrations as dialogues: cleaned, on the frames' grid, said to "you", changed at random without a look ahead."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.messages import Message
from serval.data.augmentation import delayed, merged, thinned, with_slip
from serval.data.item import Event, Item
from serval.data.narration import INSTRUCTIONS, cleaned, narration_streams, unmarked
from serval.data.second_person import second_person
from serval.data.stream import StreamFrame, layout, message_frames


def moments(*pairs, kind="narration_pass_1"):
    return tuple(Event(start=start, text=text, kind=kind) for start, text in pairs)


NARRATED = moments(
    (3.3, "#C C opens a door"), (1.0, "#C C stands up"), (4.1, "C opens a door"), (4.2, "#unsure"), (5.0, "C walks")
)


def test_narrations_are_cleaned():
    assert [(each.start, each.text) for each in cleaned(NARRATED)] == [
        (1.0, "C stands up"),
        (3.3, "C opens a door"),  # once, though it is said twice in a row
        (5.0, "C walks"),
    ]
    assert unmarked("#O A man X hands #unsure  to C #unsure") == "A man X hands something to C something"


def test_a_dialogue_has_an_instruction_behind_its_first_frame_and_words_behind_theirs():
    item = Item(id="v", events=NARRATED)
    (made,) = narration_streams(item)
    assert made.messages[0].text in INSTRUCTIONS and made.id == "v/narration_pass_1/0"
    assert [(each.role, each.parts[0].time) for each in made.messages] == [
        ("user", 0.0), ("assistant", 1.0), ("assistant", 3.5), ("assistant", 5.0),
    ]  # fmt: skip
    frames = [each for each in layout(made.stream, made.messages) if isinstance(each, StreamFrame)]
    assert [each.decision for each in frames] == [
        None,
        "silent",
        "speak",
        *["silent"] * 4,
        "speak",
        "silent",
        "silent",
        "speak",
    ]
    (later,) = narration_streams(Item(id="v", events=moments((0.6, "C sits down"), (0.9, "C stands up"))))
    assert [each.text for each in later.messages[1:]] == ["C stands up"]  # the same frame: the later replaces


def test_each_narrator_speaks_alone_and_who_was_rejected_not_at_all():
    events = (
        moments((1, "C a b"), kind="annotation_1")
        + moments((2, "C c d"), kind="rejected_2")
        + moments((3, "C e f"), kind="annotation_3")
    )
    summary = Event(start=0.0, end=9.0, text="all of it", kind="narration_pass_1/summaries")
    made = list(narration_streams(Item(id="t", events=(*events, summary))))
    assert [[each.text for each in item.messages[1:]] for item in made] == [["C a b"], ["C e f"]]


@settings(max_examples=40)
@given(st.lists(st.floats(0, 200), max_size=12), st.sampled_from([1, 2, 7, 30]), st.integers(0, 3))
def test_dialogues_of_a_long_video_cover_it_without_overlap(times, most, seed):
    events = moments(*((time, f"C does {number}") for number, time in enumerate(times)))
    made = list(narration_streams(Item(id="v", events=events), frames=most, seed=seed))
    spans = [(each.stream.first, message_frames(each.stream, each.messages)[-1]) for each in made]
    assert all(0 <= last - first < most for first, last in spans)
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    assert sum(len(each.messages) - 1 for each in made) == len({-(-time * 2 // 1) for time in times})
    assert made == list(narration_streams(Item(id="v", events=events), frames=most, seed=seed))


def test_every_text_is_rewritten_once():
    asked = []

    def rewrite(text):
        asked.append(text)
        return second_person(text)

    events = moments((1, "C opens a door"), (2, "C walks on"), (3, "C opens a door"))
    (made,) = narration_streams(Item(id="v", events=events), rewrite=rewrite)
    assert [each.text for each in made.messages[1:]] == ["You open a door", "You walk on", "You open a door"]
    assert asked == ["C opens a door", "C walks on"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("C opens his bag", "You open your bag"),
        ("C washes the dishes and dries them", "You wash the dishes and dry them"),
        ("C carries plates and cups to the sink", "You carry plates and cups to the sink"),
        ("C is cutting an onion with her left hand.", "You are cutting an onion with your left hand."),
        ("C slowly pushes a box", "You slowly push a box"),
        ("C watches himself in the mirror", "You watch yourself in the mirror"),
        ("C has a cup, puts it down", "You have a cup, put it down"),
        ("C fixes the wheel", "You fix the wheel"),
        ("C goes to the door", "You go to the door"),
        ("C picks a cup and walks to the table", "You pick a cup and walk to the table"),
        ("C gives the man his cup", "You give the man his cup"),
        ("The man X walks towards C.", "The man X walks towards you."),
        ("A woman takes C's cup", "A woman takes your cup"),
        ("C", "You"),
        ("", ""),
    ],
)
def test_the_wearer_becomes_you(text, said):
    assert second_person(text) == said


EVENTS = st.lists(st.floats(0, 100), max_size=10, unique=True).map(
    lambda times: moments(*((time, f"C does {time}") for time in sorted(times)))
)


@settings(max_examples=40)
@given(EVENTS, st.floats(0, 5), st.integers(0, 9))
def test_delays_keep_the_order_and_look_forward_only(events, most, seed):
    late = delayed(events, most, random.Random(seed))
    assert late == delayed(events, most, random.Random(seed))
    assert [each.text for each in late] == [each.text for each in events]
    assert all(left.start <= right.start for left, right in pairwise(late))
    for number, (before, after) in enumerate(zip(events, late, strict=True)):
        assert before.start <= after.start <= max(each.start for each in events[: number + 1]) + most
        assert delayed(events[: number + 1], most, random.Random(seed)) == late[: number + 1]  # by what came before alone


@settings(max_examples=40)
@given(EVENTS, st.floats(0, 20), st.integers(0, 9))
def test_dropping_and_merging_lose_and_join_what_they_say(events, gap, seed):
    assert thinned(events, 0.0, random.Random(seed)) == events and thinned(events, 1.0, random.Random(seed)) == ()
    some = thinned(events, 0.5, random.Random(seed))
    assert [each for each in events if each in some] == list(some)
    joined = merged(events, gap)
    assert [part for each in joined for part in each.text.split(". ")] == [each.text for each in events]
    assert all(right.start - left.start > gap for left, right in pairwise(joined))
    assert {each.start for each in joined} <= {each.start for each in events}


def test_merged_moments_are_told_at_the_last_of_them():
    assert [(each.start, each.text) for each in merged(moments((1, "C a."), (1.5, "C b."), (4, "C c.")), 1)] == [
        (1.5, "C a. C b."),
        (4.0, "C c."),
    ]


def streamed(*times):
    (made,) = narration_streams(Item(id="v", events=moments(*((time, f"C does {time}") for time in times))))
    return made


def test_a_slip_is_never_learned_and_what_is_right_comes_late_or_not():
    item = streamed(2, 5, 9, 12)
    right = [each.text for each in item.messages]
    kinds = set()
    for seed in range(60):
        made = with_slip(item, random.Random(seed))
        laid = list(layout(made.stream, made.messages))
        learned = [each.text for number, each in enumerate(made.messages) if number not in made.unlearned]
        assert set(learned) <= set(right) and made.messages[-1] == item.messages[-1]
        assert not any("orry" in each.text for each in made.messages)  # no apology is taught
        dropped = [text for text in right if text not in learned]
        said = [each for number, each in enumerate(made.messages) if number not in made.unlearned]
        late = [each for each in said if each not in item.messages]
        kinds.add((bool(made.unlearned), bool(late)))
        assert len(dropped) == (not late) and made != item
        for each, following in pairwise(laid):
            if isinstance(each, StreamFrame) and each.decision == "silent":  # wherever silence is taught, it is right
                assert each.time not in {message.parts[0].time for message in item.messages[1:]}
            if isinstance(each, StreamFrame) and each.decision == "speak":
                assert isinstance(following, Message)
        if late:
            assert late[0].parts[0].time == next(m for m in item.messages if m.text == late[0].text).parts[0].time + 0.5
        assert with_slip(item, random.Random(seed)) == made
        assert Item.from_json(made.to_json()) == made  # also what it may not be is checked there
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


def test_a_slip_needs_two_turns():
    assert with_slip(streamed(2), random.Random(0)) == streamed(2)
    for seed in range(30):  # what is not learned already is never drawn, and stays unlearned
        twice = with_slip(with_slip(streamed(2, 5, 9, 12), random.Random(seed)), random.Random(seed + 1))
        learned = [each for number, each in enumerate(twice.messages) if number not in twice.unlearned]
        assert len({each.text for each in learned}) == len(learned) and Item.from_json(twice.to_json()) == twice
    with pytest.raises(ValueError, match="no streaming dialogue"):
        with_slip(Item(), random.Random(0))
    close = streamed(2, 2.5)
    for seed in range(20):
        made = with_slip(close, random.Random(seed))
        assert [each.text for each in made.messages if each in close.messages] and len(made.messages) <= 3
