"""From scores to words: thresholds, what re-arms, what is held back, and that nothing momentary is ever lost."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.gates.gate import Score
from serval.assistant.policy import Policy, PolicyState
from serval.assistant.view import Change, ChangeKind


def change(number):
    return Change(ChangeKind.APPEARS, float(number), float(number), "person", 0.8, track=number)


def moment(*numbers, value=0.8):
    return Score(value, "it happened", tuple(change(number) for number in numbers), momentary=True)


def decide(policy, scores, every=0.5):
    """The decisions on scores that are ``every`` seconds apart; numbers are levels."""
    state, out = policy.start(), []
    for index, score in enumerate(scores):
        score = Score(score) if isinstance(score, int | float) else score
        state, decision = policy.step(state, score, index * every)
        out.append(decision)
    return out


def wakes(decisions):
    return [index for index, decision in enumerate(decisions) if decision.action == "wake"]


QUICK = Policy(threshold=0.5, refractory=0.0)


class TestLevels:
    def test_wakes_at_the_threshold_and_not_below(self):
        assert wakes(decide(QUICK, [0.0, 0.499, 0.5, 0.0])) == [2]

    def test_only_the_rise_counts(self):
        decisions = decide(QUICK, [0.0, 0.9, 0.9, 0.6, 1.0])
        assert wakes(decisions) == [1]
        assert decisions[2].why == "it was told when it began, and has not ended since"

    def test_a_level_that_is_there_from_the_start_is_told(self):
        assert wakes(decide(QUICK, [0.9, 0.9])) == [0]

    @pytest.mark.parametrize(("dip", "expected"), [(0.49, [0]), (0.31, [0]), (0.3, [0]), (0.29, [0, 2]), (0.0, [0, 2])])
    def test_rearms_only_below_the_share_of_the_threshold(self, dip, expected):
        assert wakes(decide(QUICK, [0.9, dip, 0.9])) == expected

    def test_a_level_around_the_threshold_wakes_once(self):
        assert wakes(decide(QUICK, [0.45, 0.55] * 20)) == [1]

    def test_must_hold(self):
        policy = Policy(threshold=0.5, hold=1.0, refractory=0.0)
        decisions = decide(policy, [0.9, 0.9, 0.0, 0.9, 0.9, 0.9, 0.9])
        assert wakes(decisions) == [5]
        assert decisions[3].action == "standby" and "1 s" in decisions[3].why

    def test_is_passed_over_after_a_wake_and_told_when_it_still_stands(self):
        policy = Policy(threshold=0.5, refractory=2.0)
        assert wakes(decide(policy, [0.9, 0.0, 0.9, 0.0, 0.0])) == [0]
        assert wakes(decide(policy, [0.9, 0.0, 0.9, 0.9, 0.9, 0.9])) == [0, 4]


class TestMoments:
    def test_each_counts_by_itself(self):
        decisions = decide(QUICK, [moment(1), moment(2), moment(3)])
        assert wakes(decisions) == [0, 1, 2]
        assert [[each.track for each in decision.because] for decision in decisions] == [[1], [2], [3]]

    def test_weak_ones_do_not(self):
        assert wakes(decide(QUICK, [moment(1, value=0.4)] * 5)) == []

    def test_those_within_the_refractory_time_are_told_together_when_it_is_over(self):
        decisions = decide(Policy(threshold=0.5, refractory=1.0), [moment(1), moment(2), 0.0, 0.0])
        assert [decision.action for decision in decisions] == ["wake", "standby", "wake", "silent"]
        assert [each.track for each in decisions[2].because] == [2]
        assert decisions[1].because == () and "held back" in decisions[1].why

    def test_held_ones_join_the_next(self):
        decisions = decide(Policy(threshold=0.5, refractory=1.5), [moment(1), moment(2), moment(3), moment(4)])
        assert wakes(decisions) == [0, 3] and [each.track for each in decisions[3].because] == [2, 3, 4]

    def test_a_moment_without_a_change_behind_it_is_not_held(self):
        poll = Score(1.0, "5 s have passed", momentary=True)
        assert wakes(decide(Policy(threshold=0.5, refractory=1.0), [poll] * 5)) == [0, 2, 4]

    def test_no_more_are_held_than_fit_a_sentence(self):
        many = [moment(*range(10 * n, 10 * n + 10)) for n in range(1, 10)]
        decisions = decide(Policy(threshold=0.5, refractory=5.0), [moment(0), *many, 0.0])
        assert [each.track for each in decisions[10].because] == list(range(84, 100))


class TestStandby:
    def test_is_passed_on_below_the_threshold(self):
        silent, standby = decide(QUICK, [Score(0.1, "nothing"), Score(0.1, "a possible person", standby=True)])
        assert (silent.action, silent.why) == ("silent", "nothing")
        assert standby.action == "standby" and standby.because == ()

    def test_does_not_keep_a_wake_from_coming(self):
        assert wakes(decide(QUICK, [Score(0.9, standby=True)])) == [0]


LEVELS = st.builds(Score, st.floats(0, 1), st.just(""), st.just(()), st.booleans())


@st.composite
def streams(draw):
    """(time, score) pairs: levels, and moments whose changes are numbered through, so that each can be found again."""
    time, number, out = 0.0, 0, []
    for _ in range(draw(st.integers(1, 30))):
        time = round(time + draw(st.sampled_from([0.1, 0.25, 0.5, 1.0, 5.0])), 3)
        score = draw(LEVELS)
        if draw(st.booleans()):
            count = draw(st.integers(0, 1))
            score = moment(*range(number, number + count), value=draw(st.floats(0, 1)))
            number += count
        out.append((time, score))
    return out


POLICIES = st.builds(
    Policy, st.floats(0.05, 0.95), st.floats(0.1, 1.0), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 1.0, 1.5])
)


def along(policy, stream):
    state, out = policy.start(), []
    for time, score in stream:
        state, decision = policy.step(state, score, time)
        out.append((state, decision))
    return out


@given(POLICIES, streams(), streams(), st.data())
def test_a_decision_does_not_depend_on_what_comes_later(policy, stream, other, data):
    until = data.draw(st.integers(0, len(stream)))
    full = along(policy, stream)
    assert along(policy, stream[:until]) == full[:until]
    assert along(policy, [*stream[:until], *[(time + 1000.0, score) for time, score in other]])[:until] == full[:until]


@given(POLICIES, streams())
def test_no_two_wakes_within_the_refractory_time(policy, stream):
    times = [time for (time, _), (_, decision) in zip(stream, along(policy, stream), strict=True) if decision.action == "wake"]
    assert all(later - earlier >= policy.refractory for earlier, later in itertools.pairwise(times))


@given(POLICIES, streams())
def test_every_moment_over_the_threshold_is_told_once_and_in_order(policy, stream):
    happened = [each for _, score in stream if score.momentary and score.value >= policy.threshold for each in score.because]
    # Once the refractory time has passed in quiet, nothing may be left over.
    end = stream[-1][0] + policy.refractory + 1.0
    decisions = [decision for _, decision in along(policy, [*stream, (end, Score(0.0))])]
    told = [each for decision in decisions if decision.action == "wake" for each in decision.because]
    assert len(happened) > 16 or told == happened


@given(POLICIES, streams())
def test_steps_are_pure(policy, stream):
    state = policy.start()
    assert state == PolicyState()
    for time, score in stream:
        first, second = policy.step(state, score, time), policy.step(state, score, time)
        assert first == second and len(first[0].held) <= 16
        state = first[0]
