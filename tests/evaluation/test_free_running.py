from __future__ import annotations

import math

import numpy as np
import pytest

from serval.evaluation.bootstrap import bootstrap
from serval.evaluation.free_running import FreeRun, FreeScore, score_runs
from serval.evaluation.streaming import Moment


def moments(*times: float) -> tuple[Moment, ...]:
    return tuple(Moment(time) for time in times)


def score(runs: list[FreeRun], *, tolerance: float, seed: int = 0) -> FreeScore:
    return score_runs(runs, tolerance=tolerance, seed=seed, rounds=200)


RUNS = [
    # one hit half a second late, its duplicate, one miss
    FreeRun(moments(10, 20), moments(10.5, 11), seconds=60, decisions=120, words=12, latencies=(0.1, 0.2, 0.3)),
    # one hit a second early, one false alarm
    FreeRun(moments(30), moments(29, 50), seconds=60, decisions=120, words=6, latencies=(0.4, 1.0)),
]


class TestRuns:
    def test_by_hand(self) -> None:
        found = score(RUNS, tolerance=1.5, seed=0)
        assert found.precision.value == 2 / 4
        assert found.recall.value == 2 / 3
        assert found.f1.value == pytest.approx(2 * 2 / (4 + 3))
        assert found.delay.value == pytest.approx((0.5 - 1.0) / 2)
        assert found.duplicates.value == 1 / 4
        assert found.words.value == 18 / 2
        assert found.silence.value == (240 - 4) / 240
        assert found.latency_50.value == pytest.approx(0.3)
        assert found.latency_95.value == pytest.approx(np.percentile([0.1, 0.2, 0.3, 0.4, 1.0], 95))

    def test_intervals_hold_the_value_and_are_those_of_the_two_streams(self) -> None:
        found = score(RUNS, tolerance=1.5, seed=0)
        assert (found.words.low, found.words.high) == (6.0, 12.0)  # one stream drawn twice
        for interval in vars(found).values():
            assert interval.low <= interval.value <= interval.high

    def test_the_same_seed_draws_the_same(self) -> None:
        many = [FreeRun(moments(10), moments(*said), seconds=60, decisions=120) for said in ([], [10], [9, 11], [40]) * 3]
        one, two, other = (score(many, tolerance=2, seed=seed).f1 for seed in (1, 1, 2))
        assert one == two and one.value == other.value and one != other

    def test_silence_is_no_success(self) -> None:
        found = score([FreeRun(moments(1, 2), (), seconds=10, decisions=20)], tolerance=1, seed=0)
        assert (found.f1.value, found.recall.value, found.silence.value) == (0.0, 0.0, 1.0)
        assert found.duplicates.value == 0.0 and found.words.value == 0.0
        assert all(map(math.isnan, (*found.delay, *found.latency_50)))

    def test_nothing_to_say_and_nothing_said_is_right(self) -> None:
        found = score([FreeRun((), (), seconds=10, decisions=20)], tolerance=1, seed=0)
        assert (found.precision.value, found.recall.value, found.f1.value) == (1.0, 1.0, 1.0)

    def test_matching_is_of_the_most_pairs(self) -> None:
        run = FreeRun(moments(10, 11), moments(10.9, 12), seconds=20, decisions=40)
        assert score([run], tolerance=1, seed=0).f1.value == 1.0

    def test_other_words_do_not_match_where_words_are_given(self) -> None:
        run = FreeRun((Moment(10, "cup"),), (Moment(10, "door"),), seconds=20, decisions=40)
        assert score([run], tolerance=1, seed=0).f1.value == 0.0

    def test_no_streams(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            score([], tolerance=1, seed=0)


class TestBootstrap:
    def test_the_interval_of_a_mean_is_that_of_the_normal_distribution(self) -> None:
        values = np.random.default_rng(0).normal(5, 2, 400)
        value, low, high = bootstrap(400, lambda drawn: float(values[drawn].mean()), seed=1)
        assert value == pytest.approx(values.mean())
        assert (high - low) / 2 == pytest.approx(1.96 * 2 / 20, rel=0.1)
        assert (high + low) / 2 == pytest.approx(value, abs=0.02)

    def test_it_covers_what_it_says(self) -> None:
        rng, held = np.random.default_rng(2), 0
        for trial in range(100):
            values = rng.normal(0, 1, 40)
            _, low, high = bootstrap(
                40, lambda drawn, of=values: float(of[drawn].mean()), seed=trial, rounds=200, confidence=0.8
            )
            held += low <= 0 <= high
        assert 68 <= held <= 90

    def test_alike_things_leave_no_doubt(self) -> None:
        assert bootstrap(5, lambda drawn: 3.0, seed=0) == (3.0, 3.0, 3.0)

    def test_draws_without_a_score_are_left_out(self) -> None:
        values = np.array([np.nan, 1.0, 2.0])
        _, low, high = bootstrap(3, lambda drawn: float(values[drawn].sum()), seed=0)
        assert 3.0 <= low <= high <= 6.0
