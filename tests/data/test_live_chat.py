"""Live chats: no answer knows the future, every word stands behind the right frame, and the seed is the chat."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.data.item import Event, Item
from serval.data.live_chat import Query, known, live_chats, prompted, tells_time, template_writer, turns
from serval.data.questions import QUESTIONS
from serval.data.stream import StreamFrame, layout, message_frames


def step(start, end, text, parent=0):
    return Event(start=start, end=end, text=text, kind="step", parent=parent, extra={"summary": "the whole video"})


GOAL = Event(start=0.0, end=300.0, text="make a salad", kind="goal")
SALAD = Item(
    id="salad",
    events=(
        GOAL, step(4.2, 60.1, "wash lettuce"), step(10.0, 30.0, "open tap", 1), step(35.0, 40.0, "close tap", 1),
        step(70.3, 150.0, "cut tomatoes"), step(160.0, 290.0, "stir"),
    ),
)  # fmt: skip


@st.composite
def happenings(draw):
    times = draw(st.lists(st.tuples(st.floats(0, 300), st.none() | st.floats(0, 60)), min_size=1, max_size=6))
    return tuple(
        Event(start=start, end=None if length is None else start + length, text=f"{number}")
        for number, (start, length) in enumerate(times)
    )


@st.composite
def questions(draw):
    frames = sorted(draw(st.sets(st.integers(0, 600), min_size=1, max_size=4)))
    about = st.sampled_from(["past", "present", "next", "chat"])
    return [Query(f"q{frame}", draw(about), frame / 2 + 0.1, frame / 2 + 0.1) for frame in frames]


@settings(max_examples=30)
@given(happenings(), questions(), st.sampled_from([0.5, 2.0, 29.97]))
def test_a_writer_sees_only_what_has_happened(events, queries, fps):
    seen = []

    def writer(found, query):
        seen.append(query)
        assert all(each.start <= query.now for each in found)
        assert all(each.end is None or each.end <= query.now for each in found)
        assert {each.text for each in found} == {each.text for each in events if each.start <= query.now}
        assert not any(each.extra for each in found)
        return f"{len(seen)}"

    said = list(turns(events, queries, writer, fps))
    assert [each.now for each in seen] == [frame / fps for frame, role, _ in said if role == "assistant"]
    for query in seen:
        asked = next(each for each in queries if each.text == query.text)
        assert replace(query, now=asked.now) == asked


@settings(max_examples=30)
@given(happenings(), happenings(), questions(), st.integers(0, 600))
def test_what_is_said_does_not_depend_on_what_comes(events, others, queries, cut):
    """Change everything behind a moment: all that was said up to then stays, word for word."""
    now = cut / 2
    changed = [
        each if each.end is None or each.end <= now else each.model_copy(update={"end": each.end + 7})
        for each in events
        if each.start <= now
    ]
    changed += [each for each in others if each.start > now]

    def until(happened):
        return [each for each in turns(happened, queries, template_writer, 2.0) if each[0] <= cut]

    assert until(events) == until(changed)


@settings(max_examples=30)
@given(happenings(), questions())
def test_answers_stand_at_questions_and_where_something_begins_or_ends(events, queries):
    said = list(turns(events, queries, lambda found, query: f"{query.now}", 2.0))
    frames = [frame for frame, _, _ in said]
    assert frames == sorted(frames)
    asked = [frame for frame, role, _ in said if role == "user"]
    assert asked == [int(query.asked * 2) for query in queries]
    happened = {-int(-time * 2 // 1) for each in events for time in (each.start, each.end) if time is not None}
    assert {frame for frame, role, _ in said if role == "assistant"} == {
        *asked,
        *(each for each in happened if each > asked[0]),
    }
    for here, following in pairwise(said):
        if here[1] == "user":
            assert following[:2] == (here[0], "assistant")  # at once, behind the same frame


def test_known_hides_ends_that_are_to_come_and_moments_end_as_they_start():
    events = (step(10.0, 20.0, "b"), Event(start=2.0, text="a"), step(30.0, 40.0, "c"))
    assert [(each.text, each.start, each.end, each.parent) for each in known(events, 15.0)] == [
        ("a", 2.0, 2.0, None),
        ("b", 10.0, None, None),
    ]
    assert known(events, 20.0)[1].end == 20.0 and known(events, 1.9) == ()


def test_what_begins_as_a_question_is_asked_is_in_its_answer():
    queries = [Query("first", "present", 1.0, 1.0), Query("second", "present", 4.0, 4.0)]
    seen = []

    def writer(found, query):
        seen.append((query.text, query.now, [each.text for each in found]))
        return f"{len(seen)}"

    list(turns((step(2.0, 4.0, "a"), step(3.9, 9.0, "b")), queries, writer, 2.0))
    assert seen == [("first", 1.0, []), ("first", 2.0, ["a"]), ("second", 4.0, ["a", "b"]), ("second", 9.0, ["a", "b"])]


def test_a_silent_writer_is_silent_and_nobody_repeats_himself():
    events = SALAD.events[1:]
    query = [Query("q", "present", 1.0, 1.0)]
    assert [role for _, role, _ in turns(events, query, lambda found, query: " ", 2.0)] == ["user"]
    assert [role for _, role, _ in turns(events, query, lambda found, query: "same", 2.0)] == ["user", "assistant"]


def test_templates_say_what_is_known():
    events = tuple(event for event in SALAD.events if event.parent == 0)

    def said(about, asked):
        return [
            text
            for _, role, text in turns(events, [Query("q", about, asked, asked)], template_writer, 2.0)
            if role == "assistant"
        ]

    assert said("past", 155.0) == ["So far: wash lettuce, then cut tomatoes."]
    assert said("past", 3.0) == ["Nothing is finished yet."]
    assert said("present", 80.0) == ["Right now: cut tomatoes.", "Now: stir."]
    assert said("present", 65.0)[0] == "Nothing in particular at the moment."
    assert said("next", 62.0) == ["I will tell you as soon as the next step begins.", "Now: cut tomatoes.", "Now: stir."]
    assert len(said("chat", 3.0)) == 1
    walking = (Event(start=1.0, text="stand up"), Event(start=5.0, text="walk"))
    assert template_writer(known(walking, 6.0), Query("q", "present", 6.0, 6.0)) == "Right now: walk."


def test_chats_are_streams_with_their_seed():
    made = list(live_chats(SALAD, template_writer, seed=1))
    assert made == list(live_chats(SALAD, template_writer, seed=1)) != list(live_chats(SALAD, template_writer, seed=2))
    assert len(made) > 8 and {each.id.split("/")[1] for each in made} <= {"0", "1"}
    first = {event.start for event in SALAD.events if event.parent == 0}
    for item in made:
        assert Item.from_json(item.to_json()) == item and item.messages[0].role == "user"
        frames = message_frames(item.stream, item.messages)
        assert 0 <= frames[0] - item.stream.first <= 20
        assert 60 <= (frames[-1] - frames[0]) / 2 <= 3600 and min(first) * 2 - 1 <= frames[0]
        laid = list(layout(item.stream, item.messages))
        asked = [
            here
            for here, following in pairwise(laid)
            if isinstance(here, StreamFrame) and not isinstance(following, StreamFrame) and following.role == "user"
        ]
        assert asked and all(each.decision is None for each in asked)  # nobody foresees a question


def test_levels_are_steps_of_a_goal_and_substeps_of_a_step():
    made = list(live_chats(SALAD, template_writer, chats=6, seconds=(0, 3600)))
    words = {
        level: " ".join(each.text for item in made if f"/{level}/" in item.id for each in item.messages) for level in (0, 1)
    }
    assert "tomatoes" in words[0] and "tap" not in words[0]
    assert "tap" in words[1] and "tomatoes" not in words[1]
    flat = Item(id="coin", events=tuple(each.model_copy(update={"parent": None}) for each in SALAD.events[1:]))
    assert {each.id.split("/")[1] for each in live_chats(flat, template_writer)} == {"0"}
    assert list(live_chats(Item(id="none"), template_writer)) == []


def test_long_chats_are_cut_and_chats_that_tell_the_time_left_out():
    cut = list(live_chats(SALAD, template_writer, frames=100, seed=1))
    assert cut and all(message_frames(each.stream, each.messages)[-1] - each.stream.first < 100 for each in cut)
    assert list(live_chats(SALAD, lambda found, query: f"It is {query.now:.0f} seconds in.", seed=1)) == []
    assert list(live_chats(SALAD, template_writer, seconds=(3600, 7200))) == []


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("12s User: hi", True),
        ("after 3.5 secs", True),
        ("a few seconds", True),
        ("the second egg", False),
        ("2 spoons", False),
        ("at 5 second", True),
    ],
)
def test_times_in_answers_are_found(text, tells):
    assert tells_time(text) == tells


def test_a_language_model_is_asked_with_what_has_happened_and_no_times():
    prompts = []

    def generate(prompt):
        prompts.append(prompt)
        return " You wash it. \n"

    events = tuple(event for event in SALAD.events if event.parent == 0)
    said = list(turns(events, [Query("What now?", "present", 65.0, 65.0)], prompted(generate), 2.0))
    assert said == [(130, "user", "What now?"), (130, "assistant", "You wash it.")]
    assert "- done: wash lettuce" in prompts[0] and "tomatoes" not in prompts[0] and "What now?" in prompts[0]
    assert "- seen: cut tomatoes" in prompts[1] and "Something has changed" in prompts[1]
    assert not re.search(r"\d", "".join(prompts))


def test_there_are_fifty_questions_of_each_kind():
    assert len({text for text, _ in QUESTIONS}) == len(QUESTIONS)
    assert all(sum(kind == about for _, kind in QUESTIONS) >= 50 for about in ("past", "present", "next", "chat"))
    assert not any(tells_time(text) for text, _ in QUESTIONS)
