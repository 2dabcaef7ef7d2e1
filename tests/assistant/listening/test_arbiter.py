"""One voice: nothing is spoken twice, nothing urgent waits behind less, what is stale goes, and every end is on record."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serval.assistant.listening.arbiter import ANSWER, Arbiter, Words


def does(decisions):
    return [(each.does, *(words.id for words in each.words)) for each in decisions]


def test_an_alert_is_spoken_at_once_where_nobody_speaks():
    arbiter = Arbiter()
    assert does(arbiter.wants(Words("a", "A dog.", 0, at=1.0), 1.0)) == [("speak", "a")]
    assert does(arbiter.ended("a", 3.0)) == [] and arbiter.speaking == ()


def test_a_user_is_let_speak_and_the_answer_is_recorded_as_interrupted():
    arbiter = Arbiter()
    arbiter.wants(Words("answer", answer=True), 0.0)
    (stop,) = arbiter.speech_started(2.0)
    assert stop.does == "interrupt" and stop.record() == {
        "decision": "interrupt",
        "why": "the user speaks",
        "words": ["answer"],
        "at": 2.0,
    }
    assert does(arbiter.wants(Words("fire", urgency=10, at=2.5), 2.5)) == [("hold", "fire")]
    assert does(arbiter.speech_stopped(4.0)) == [("speak", "fire")]


def test_what_is_more_urgent_than_an_answer_interrupts_it_and_what_is_less_waits():
    arbiter = Arbiter()
    arbiter.wants(Words("answer", answer=True), 0.0)
    assert does(arbiter.wants(Words("cat", urgency=ANSWER, at=0.1), 0.1)) == [("hold", "cat")]
    assert does(arbiter.wants(Words("fire", urgency=9, at=0.2), 0.2)) == [("interrupt", "answer"), ("speak", "fire")]
    assert does(arbiter.ended("answer", 0.3)) == []  # it does not speak
    assert does(arbiter.ended("fire", 1.0)) == [("speak", "cat")]


def test_alerts_that_waited_together_are_one_utterance_in_their_order():
    arbiter = Arbiter()
    arbiter.wants(Words("answer", answer=True), 0.0)
    for name, at in (("later", 0.7), ("sooner", 0.5)):
        arbiter.wants(Words(name, urgency=1, at=at), 0.8)
    arbiter.wants(Words("less", urgency=0, at=0.6), 0.8)
    merge, speak = arbiter.ended("answer", 1.0)
    assert does([merge, speak]) == [("merge", "later"), ("speak", "sooner", "later")] and merge.into == "sooner"
    assert does(arbiter.ended("sooner", 2.0)) == [("speak", "less")]


def test_a_newer_answer_takes_the_place_of_an_older_one():
    arbiter = Arbiter()
    arbiter.wants(Words("one", answer=True), 0.0)
    assert does(arbiter.wants(Words("two", answer=True), 1.0)) == [("interrupt", "one"), ("speak", "two")]
    arbiter.speech_started(2.0)
    arbiter.wants(Words("three", answer=True, at=2.0), 2.0)
    decisions = arbiter.wants(Words("four", answer=True, at=2.1), 2.1)
    assert does(decisions) == [("drop", "three"), ("hold", "four")]


def test_what_has_gone_stale_is_dropped_and_says_so():
    arbiter = Arbiter()
    arbiter.speech_started(0.0)
    arbiter.wants(Words("a", urgency=1, at=0.0, fresh=5.0), 0.0)
    (gone,) = arbiter.speech_stopped(5.5)
    assert (gone.does, gone.why) == ("drop", "stale")


def test_of_too_much_the_least_urgent_and_oldest_goes():
    arbiter = Arbiter(most=2)
    arbiter.speech_started(0.0)
    for name, urgency in (("old", 0), ("new", 0)):
        arbiter.wants(Words(name, urgency=urgency), 0.0)
    assert does(arbiter.wants(Words("urgent", urgency=3), 0.0)) == [("hold", "urgent"), ("drop", "old")]
    assert [each.id for each in arbiter.waiting] == ["urgent", "new"]
    assert does(arbiter.wants(Words("idle", urgency=-1), 0.0)) == [("hold", "idle"), ("drop", "idle")]


def test_what_nobody_wants_is_withdrawn():
    arbiter = Arbiter()
    arbiter.wants(Words("a", urgency=1), 0.0)
    arbiter.wants(Words("b", urgency=0), 0.0)
    assert does(arbiter.withdrawn("a", 1.0)) == [("interrupt", "a"), ("speak", "b")]
    arbiter.wants(Words("c", urgency=0), 1.0)
    assert does(arbiter.withdrawn("c", 1.0)) == [("drop", "c")] and arbiter.withdrawn("c", 1.0) == []


def test_words_must_be_able_to_wait():
    with pytest.raises(ValueError, match="wait"):
        Arbiter(most=0)


class Room(RuleBasedStateMachine):
    """Somebody who speaks, asks and is told things, at any time, in any order."""

    def __init__(self):
        super().__init__()
        self.arbiter, self.now, self.count = Arbiter(most=3), 0, 0
        self.came, self.spoken, self.gone, self.interrupted = {}, [], [], []
        self.aloud = None  # the utterance that a follower of the decisions plays now

    def follow(self, decisions):
        for each in decisions:
            assert each.why and each.time == self.now
            names = [words.id for words in each.words]
            if each.does == "speak":
                assert self.aloud is None, "two voices"
                assert not self.arbiter.user
                assert all(words.at + words.fresh >= self.now for words in each.words), "stale words were spoken"
                self.spoken += names
                self.aloud = names[0]
            if each.does == "interrupt":
                assert self.aloud == names[0]
                self.aloud = None
                self.interrupted += names
            if each.does == "drop" and each.why != "known already":
                self.gone += names

    @rule(
        urgency=st.integers(-10, 10), fresh=st.integers(0, 5), late=st.integers(0, 6), answer=st.booleans(), again=st.booleans()
    )
    def comes(self, urgency, fresh, late, answer, again):
        known = again and self.count > 0
        name = str(self.count - 1) if known else str(self.count)
        self.count += not known
        words = Words(name, "", ANSWER if answer else urgency, self.now - late, fresh, answer)
        before = self.aloud
        decisions = self.arbiter.wants(words, self.now)
        if known:
            assert [each.why for each in decisions] == ["known already"]
        else:
            self.came[name] = words
        self.follow(decisions)
        if late > fresh and not known:
            assert self.gone[-1] == name and self.aloud == before, "stale words have stopped somebody"
        urgent = not answer and urgency > ANSWER and not self.arbiter.user and late <= fresh
        if not known and urgent and before and self.came[before].urgency < urgency:
            assert before in self.interrupted or self.aloud != before

    @rule(seconds=st.integers(0, 4))
    def passes(self, seconds):
        self.now += seconds
        self.follow(self.arbiter.tick(self.now))

    @rule()
    def speaks(self):
        self.follow(self.arbiter.speech_started(self.now))
        assert self.aloud is None

    @rule()
    def stops(self):
        self.follow(self.arbiter.speech_stopped(self.now))

    @rule()
    def ends(self):
        if self.aloud is not None:
            name, self.aloud = self.aloud, None
            self.follow(self.arbiter.ended(name, self.now))

    @rule(number=st.integers(0, 30))
    def withdraws(self, number):
        self.follow(self.arbiter.withdrawn(str(number), self.now))

    @invariant()
    def nothing_twice(self):
        assert len(self.spoken) == len(set(self.spoken)) and not set(self.spoken) & set(self.gone)
        assert len(self.gone) == len(set(self.gone)) and len(self.interrupted) == len(set(self.interrupted))

    @invariant()
    def urgent_first(self):
        urgencies = [each.urgency for each in self.arbiter.waiting]
        assert urgencies == sorted(urgencies, reverse=True)
        if self.aloud is not None and urgencies and urgencies[0] > ANSWER:
            assert self.came[self.aloud].urgency >= urgencies[0], "something urgent waits behind less"

    @invariant()
    def bounded_and_followed(self):
        assert len(self.arbiter.waiting) <= 3 and (self.arbiter.speaking[0].id if self.arbiter.speaking else None) == self.aloud
        waiting = {each.id for each in self.arbiter.waiting}
        assert set(self.came) == set(self.spoken) | set(self.gone) | waiting, "words got lost"
        if not (self.arbiter.user or self.aloud):
            assert not waiting, "nobody speaks although somebody could"


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=150, stateful_step_count=40)
