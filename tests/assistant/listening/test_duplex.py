"""Two lanes that change places: whatever comes in, and whenever, nobody is heard whom a question has silenced."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.listening.duplex import Duplex, SpeechQueue, Turn

QUESTION, NOISE = True, False
events = st.lists(st.sampled_from(["question", "noise", "judged", "token", "ended"]), max_size=60)


class Lanes:
    """Follows the actions as a model would, and plays what is spoken."""

    def __init__(self, most=4):
        self.duplex, self.queue = Duplex(most), SpeechQueue()
        self.log, self.taken, self.spoken, self.history = [], Counter(), [], []

    def follow(self, actions):
        for action in actions:
            self.log.append((action.does, action.turn))
            if action.does == "judge":
                self.taken[action.turn.number] += 1
            if action.does == "speak":
                self.queue.begin(action.turn.number)
            if action.does == "hush":
                self.history.append(action.turn.number)

    def hear(self, addressed):
        self.follow(self.duplex.heard(addressed))

    def judged(self):
        if self.duplex.judging is not None:
            number = self.duplex.judging.number
            self.follow(self.duplex.judged(self.duplex._requests[number]))

    def token(self):
        if self.duplex.speaking is not None:
            self.queue.put(self.duplex.speaking.number, self.duplex.speaking.number)
        if (item := self.queue.take()) is not None:
            self.spoken.append((item, self.duplex.speaking and self.duplex.speaking.number))

    def ended(self):
        if self.duplex.speaking is not None:
            self.history.append(self.duplex.speaking.number)
            self.follow(self.duplex.ended(self.duplex.speaking.number))

    def play(self, events):
        for event in events:
            if event in ("question", "noise"):
                self.hear(event == "question")
            else:
                getattr(self, event)()

    def settle(self):
        while self.duplex.judging is not None or self.duplex.speaking is not None:
            self.judged()
            self.ended()


@given(events)
def test_every_request_is_taken_once_or_dropped_and_nothing_is_stuck(events):
    lanes = Lanes()
    lanes.play(events)
    lanes.settle()
    dropped = [turn.number for does, turn in lanes.log if does == "drop"]
    asked = sum(event in ("question", "noise") for event in events)
    assert sorted([*lanes.taken, *dropped]) == list(range(asked)) and set(lanes.taken.values()) <= {1}
    assert lanes.duplex.waiting == 0 and not lanes.duplex._requests  # nothing is kept for good


@given(events)
def test_questions_alternate_and_no_one_judges_on_the_lane_that_speaks(events):
    lanes = Lanes()
    lanes.play(events)
    lanes.settle()
    speakers = [turn.lane for does, turn in lanes.log if does == "speak"]
    assert speakers == [number % 2 for number in range(len(speakers))]
    speaking = 1
    for does, turn in lanes.log:
        if does == "judge":
            assert turn.lane != speaking
        speaking = turn.lane if does == "speak" else speaking


@given(events)
def test_what_is_played_is_always_of_who_speaks_or_spoke_last(events):
    lanes = Lanes()
    lanes.play(events)
    newest = -1
    for number, _ in lanes.spoken:
        assert number >= newest  # after a new answer's first word no word of an older one
        newest = number


@given(events)
def test_noise_says_nothing_and_is_not_remembered(events):
    lanes = Lanes()
    kinds = [event for event in events if event in ("question", "noise")]
    lanes.play(events)
    lanes.settle()
    noises = {number for number, kind in enumerate(kinds) if kind == "noise"}
    assert not noises & ({number for number, _ in lanes.spoken} | set(lanes.history))


def test_a_noise_while_someone_speaks_leaves_the_next_question_to_the_free_lane():
    """With the release's baton it would wait for the one who speaks."""
    lanes = Lanes()
    lanes.play(["question", "judged", "noise", "judged", "question", "judged"])
    assert lanes.log == [
        ("judge", Turn(0, 0)),
        ("speak", Turn(0, 0)),
        ("judge", Turn(1, 1)),
        ("forget", Turn(1, 1)),
        ("judge", Turn(2, 1)),
        ("hush", Turn(0, 0)),
        ("speak", Turn(2, 1)),
    ]


def test_too_many_requests_lose_the_oldest_that_waits():
    lanes = Lanes(most=2)
    lanes.play(["noise"] * 5)
    assert [turn.number for does, turn in lanes.log if does == "drop"] == [1, 2] and lanes.duplex.waiting == 2


def test_a_queue_is_full_for_who_speaks_and_deaf_to_who_was_hushed():
    queue = SpeechQueue(2)
    queue.begin(0)
    assert [queue.put(0, word) for word in "abc"] == [True, True, False]
    queue.begin(1)
    assert queue.put(0, "late") and queue.take() is None and len(queue) == 0


def test_judging_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="Nothing is being judged"):
        Duplex().judged(True)
    with pytest.raises(ValueError, match="able to wait"):
        Duplex(most=0)
