from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.evaluation.streaming import Moment, TriggerScore, poisson_rate, score_triggers


def moments(*times: float, what: str = "") -> list[Moment]:
    return [Moment(time, what) for time in times]


def test_one_hit_one_miss_one_false() -> None:
    score = score_triggers(moments(10, 50), moments(10.8, 90), tolerance=1.0, seconds=100)
    assert (score.hits, score.missed, score.false, score.duplicates) == (1, 1, 1, 0)
    assert score.precision == score.recall == score.f1 == 0.5
    assert score.delays == (0.8,)


def test_the_second_word_about_one_thing_is_a_duplicate() -> None:
    score = score_triggers(moments(10), moments(9.5, 10.2), tolerance=1.0, seconds=60)
    assert (score.hits, score.duplicates, score.false) == (1, 1, 0)
    assert score.delays == (0.2,)
    assert score.precision == 0.5


def test_early_words_have_negative_delays() -> None:
    assert score_triggers(moments(10), moments(9.25), tolerance=2.0, seconds=60).median_delay == -0.75


def test_other_things_do_not_match() -> None:
    score = score_triggers(moments(10, what="cup"), moments(10, what="dog"), tolerance=2.0, seconds=60)
    assert (score.hits, score.missed, score.false) == (0, 1, 1)


def test_as_many_as_possible_are_hit() -> None:
    # The nearest pair first (11 with 10.9) would leave 10 alone.
    score = score_triggers(moments(10, 11), moments(10.9, 12), tolerance=1.0, seconds=60)
    assert score.hits == 2


def test_silence_is_no_success() -> None:
    score = score_triggers(moments(1, 2, 3), [], tolerance=1, seconds=10)
    assert (score.recall, score.f1) == (0.0, 0.0)
    assert math.isnan(score.median_delay)


def test_scores_add_up() -> None:
    one = score_triggers(moments(10), moments(10.5), tolerance=1, seconds=60)
    two = score_triggers(moments(5), [], tolerance=1, seconds=40)
    assert one + two == TriggerScore(hits=1, missed=1, delays=(0.5,), seconds=100.0)


def test_no_false_alarm_in_three_hours_says_less_than_one_might_think() -> None:
    rate, lower, upper = poisson_rate(0, 3.0)
    assert (rate, lower) == (0.0, 0.0)
    assert upper == pytest.approx(3.689 / 3, abs=1e-3)


def test_poisson_interval_of_ten() -> None:
    rate, lower, upper = poisson_rate(10, 1.0)
    assert (rate, lower, upper) == (10.0, pytest.approx(4.795, abs=1e-3), pytest.approx(18.390, abs=1e-3))
    with pytest.raises(ValueError, match="not known"):
        poisson_rate(1, 0.0)


times = st.lists(st.floats(0, 100), max_size=12)


@given(times, times, st.floats(0.1, 5))
def test_every_moment_is_counted_once(happened: list[float], said: list[float], tolerance: float) -> None:
    score = score_triggers(moments(*happened), moments(*said), tolerance=tolerance, seconds=100)
    assert score.hits + score.missed == len(happened)
    assert score.hits + score.duplicates + score.false == len(said)
    assert all(abs(delay) <= tolerance + 1e-6 for delay in score.delays)
    wider = score_triggers(moments(*happened), moments(*said), tolerance=2 * tolerance, seconds=100)
    assert wider.hits >= score.hits
