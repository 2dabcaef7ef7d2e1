"""Frames and words of a streaming dialogue: where they stand, and what is to be decided behind each frame."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.messages import Media, Message
from serval.data.narration import message
from serval.data.stream import Stream, StreamFrame, as_messages, frame_after, frame_before, layout

RATES = st.sampled_from([0.5, 1.0, 2.0, 3.0, 8.0, 29.97, 30.0])


@given(st.floats(0, 1e5), RATES)
def test_frames_around_a_moment_are_the_nearest_on_either_side(time, fps):
    after, before = frame_after(time, fps), frame_before(time, fps)
    assert (after - 1) / fps < time <= after / fps
    assert before / fps <= time < (before + 1) / fps


@given(st.integers(0, 10**6), RATES)
def test_a_frames_own_time_is_its_own(number, fps):
    assert frame_after(number / fps, fps) == frame_before(number / fps, fps) == number


def test_decimals_do_not_slip():
    assert frame_after(0.7, 10) == frame_before(0.7, 10) == 7
    assert (frame_after(0.71, 10), frame_before(0.71, 10)) == (8, 7)


SAID = (
    message("user", "What now?", 3, 2.0),
    message("assistant", "Nothing.", 3, 2.0),
    message("assistant", "A dog!", 6, 2.0),
    message("user", "Thanks.", 8, 2.0),
)


def told(stream):
    return [each.text if isinstance(each, Message) else (each.number, each.decision) for each in layout(stream, SAID)]


def test_silence_is_learned_until_words_are_due_and_nobody_foresees_a_question():
    assert told(Stream(fps=2, first=1)) == [
        (1, "silent"), (2, "silent"), (3, None), "What now?", "Nothing.",
        (4, "silent"), (5, "silent"), (6, "speak"), "A dog!",
        (7, "silent"), (8, None), "Thanks.",
    ]  # fmt: skip
    assert next(layout(Stream(fps=2, first=1), SAID)) == StreamFrame(1, 0.5, "silent")


def test_nothing_is_learned_behind_ignored_frames():
    ignored = told(Stream(fps=2, first=1, ignored=((2, 3), (5, 8))))
    assert [each for each in ignored if isinstance(each, tuple)] == [
        (1, "silent"), (2, None), (3, None), (4, "silent"), (5, None), (6, None), (7, None), (8, None),
    ]  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.integers(0, 4)), max_size=8), st.integers(0, 5))
def test_every_frame_stands_once_and_decisions_follow_the_rule(turns, first):
    frame, said = first, []
    for role, more in turns:
        frame += more
        said.append(message(role, "a", frame, 2.0))
    laid = list(layout(Stream(fps=2, first=first), said))
    frames = [each for each in laid if isinstance(each, StreamFrame)]
    assert [each.number for each in frames] == list(range(first, frame + 1 if said else first))
    assert [each for each in laid if isinstance(each, Message)] == said
    for here, following in pairwise(laid):
        if isinstance(here, StreamFrame):
            due = "silent" if isinstance(following, StreamFrame) else "speak" if following.role == "assistant" else None
            assert here.decision == due


def test_for_a_chat_template_frames_are_pictures_at_the_head_of_the_users_turns():
    (first, second, third, fourth, last), unlearned = as_messages(Stream(fps=2, first=2), SAID, unlearned=(2,))
    assert [part.attached for part in first.media] == [2, 3] and first.text == "What now?"
    assert first.parts[0] == Media(kind="image", attached=2, time=1.0)
    assert (second.role, second.text) == ("assistant", "Nothing.")
    assert third.role == "user" and [part.time for part in third.media] == [2.0, 2.5, 3.0] and not third.text
    assert fourth.text == "A dog!" and unlearned == (3,)
    assert [part.attached for part in last.media] == [7, 8] and last.text == "Thanks."
    with pytest.raises(ValueError, match="message 1 is said before"):
        as_messages(Stream(fps=2, first=4), SAID)
