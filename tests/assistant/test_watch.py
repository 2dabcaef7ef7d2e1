"""An instruction made ready to run: which gate, which policy, and what has to be looked at for it."""

import numpy as np
import pytest

from serval.assistant.instructions.instruction import Instruction, Target, Understanding
from serval.assistant.view import Change, ChangeKind, View
from serval.assistant.watch import looks_for, make_watch
from serval.encoders.percept import Looks, Percept
from serval.refusal import Refusal

LUMA = np.zeros((36, 64), np.uint8)


def understood(target="objects", gate=None, **fields):
    return Understanding(target=Target(target), gate=gate or str(target), read_back="I will.", **fields)


def told(gate=None):
    return Instruction(id="door", text="tell me when a person comes in", gate=gate)


def view(time, *changes, tags=None):
    return View(Percept("door", round(time * 10), time, LUMA, tags=tags), 0.1, changes=changes)


def comes(label="person"):
    return Change(ChangeKind.APPEARS, 1.0, 0.5, label, 0.8)


class TestWhichGate:
    def test_the_one_that_the_understanding_names(self):
        assert make_watch(told(), understood()).gate.name == "objects"

    def test_the_instructions_own_before_that(self):
        assert make_watch(told("poll:5"), understood()).gate.name == "poll:5"

    def test_the_callers_before_both(self):
        assert make_watch(told("poll:5"), understood(), gate="every:7").gate.name == "every:7"

    def test_refuses_one_that_there_is_not(self):
        with pytest.raises(Refusal, match="no such gate"):
            make_watch(told("telepathy"), understood())

    def test_likeness_is_weighed_by_the_query(self):
        asked = []

        def weights(query):
            asked.append(query)
            return np.linspace(0, 1, 1000, dtype=np.float32)

        watch = make_watch(told(), understood("likeness", query="a sunny beach"), likeness=weights)
        assert watch.gate.name == "likeness" and asked == ["a sunny beach"]
        make_watch(told(), understood(), likeness=weights)
        assert len(asked) == 1

    def test_likeness_without_the_embedding_is_refused(self):
        with pytest.raises(Refusal, match="minilm"):
            make_watch(told(), understood("likeness", query="a sunny beach"))


class TestPolicy:
    @pytest.mark.parametrize("name", ["objects", "text", "novelty", "everything", "poll:1"])
    def test_has_the_threshold_of_its_gate(self, name):
        watch = make_watch(told(), understood(), gate=name)
        assert watch.policy.threshold == watch.gate.threshold

    def test_takes_what_the_caller_sets(self):
        policy = make_watch(told(), understood(), policy={"refractory": 7.0, "hold": 2.0}).policy
        assert (policy.refractory, policy.hold, policy.threshold) == (7.0, 2.0, 0.35)


class TestSteps:
    def test_score_and_decision_of_each_view(self):
        watch = make_watch(told(), understood(kinds=(ChangeKind.APPEARS,), labels=("person",)))
        score, decision = watch.step(view(0.0))
        assert score.value == 0.0 and decision.action == "silent"
        change = comes()
        score, decision = watch.step(view(1.0, change))
        assert score.value == 0.8 and decision.action == "wake" and decision.because == (change,)

    def test_remembers_between_views(self):
        watch = make_watch(told(), understood(kinds=(ChangeKind.APPEARS,)), policy={"refractory": 2.0})
        dog = comes("dog")
        actions = [watch.step(each)[1] for each in (view(0.0, comes()), view(1.0, dog), view(1.5), view(2.0))]
        assert [each.action for each in actions] == ["wake", "standby", "standby", "wake"]
        assert actions[-1].because == (dog,)

    def test_two_watches_share_nothing(self):
        first, second = (make_watch(told(), understood(), gate="every:2") for _ in range(2))
        assert [first.step(view(float(n)))[1].action for n in range(3)] == ["wake", "silent", "wake"]
        assert second.step(view(9.0))[1].action == "wake"

    def test_the_future_plays_no_part(self):
        views = [view(n / 2, *([comes()] if n % 3 == 0 else [])) for n in range(20)]
        runs = []
        for until in (7, 20):
            watch = make_watch(told(), understood(kinds=(ChangeKind.APPEARS,)))
            runs.append([watch.step(each) for each in views[:until]])
        assert runs[0] == runs[1][:7]


class TestLooks:
    @pytest.mark.parametrize(
        ("target", "looks"),
        [
            ("objects", Looks(detect=True)),
            ("text", Looks(features=True, text=True)),
            ("likeness", Looks(features=True)),
            ("everything", Looks(detect=True, features=True, hands=True)),
            ("nothing", Looks()),
        ],
    )
    def test_of_one(self, target, looks):
        assert looks_for([understood(target)]) == looks

    def test_hands_only_when_something_is_put_or_taken(self):
        for kind in ChangeKind:
            assert looks_for([understood(kinds=(kind,))]).hands == (kind in (ChangeKind.PUT, ChangeKind.TAKEN))

    def test_of_several_are_all_of_theirs(self):
        assert looks_for([understood(), understood("text")]) == Looks(detect=True, features=True, text=True)

    def test_of_none_are_none(self):
        assert not looks_for([]) and not looks_for([understood("nothing")])
