"""Gates that need no tracks: novelty, everything, likeness, and asking at fixed intervals."""

import numpy as np
import pytest

from serval.assistant.gates.everything import EverythingGate
from serval.assistant.gates.likeness import LikenessGate
from serval.assistant.gates.novelty import NoveltyGate
from serval.assistant.gates.polling import EveryNthGate, PollingGate


def run(gate, views):
    """The scores along the views."""
    state, scores = gate.start(), []
    for each in views:
        state, score = gate.step(state, each)
        scores.append(score)
    return scores


def tags(**shares):
    vector = np.zeros(1000, np.float32)
    for place, share in shares.items():
        vector[int(place[1:])] = share
    return vector


class TestNovelty:
    def test_a_new_scene_wakes(self, view, happened):
        change = happened("scene")
        [score] = run(NoveltyGate(), [view(1.0, change)])
        assert score.value == 1.0 and score.momentary and score.because == (change,)

    @pytest.mark.parametrize("novelty", [0.0, 0.5, 1.0])
    def test_unlike_alone_does_not(self, view, novelty):
        [score] = run(NoveltyGate(), [view(1.0, novelty=novelty)])
        assert score.value < NoveltyGate.threshold and not score.momentary

    def test_the_trace_rises_with_what_is_unlike(self, view):
        values = [score.value for score in run(NoveltyGate(), [view(n, novelty=n / 10) for n in range(11)])]
        assert values == sorted(values) and values[0] == 0.0 < values[-1]

    def test_other_changes_are_not_its_business(self, view, happened):
        [score] = run(NoveltyGate(), [view(1.0, happened("appears", "person"))])
        assert not score.momentary and score.because == ()


class TestEverything:
    def test_every_change_wakes(self, view, happened):
        changes = (happened("appears", "dog", score=0.2), happened("scene", score=0.9))
        [score] = run(EverythingGate(), [view(1.0, *changes)])
        assert score.value == 0.9 and score.because == changes and score.why == "dog appears, scene"

    def test_a_weak_one_too(self, view, happened):
        [score] = run(EverythingGate(), [view(1.0, happened("appears", "dog", score=0.0))])
        assert score.value >= EverythingGate.threshold

    def test_pixels_alone_never_do(self, view):
        for score in run(EverythingGate(), [view(1.0, change=1.0), view(2.0, change=0.2, unresolved=True)]):
            assert score.value < EverythingGate.threshold and not score.momentary
        assert score.standby


class TestLikeness:
    WEIGHTS = tags(n3=0.6, n4=0.6, n5=0.6, n6=0.2)

    def test_rises_to_one_where_the_picture_is_just_that(self, view):
        values = [score.value for score in run(LikenessGate(self.WEIGHTS), [view(n, tags=tags(n3=1.0)) for n in range(8)])]
        assert values[:3] == pytest.approx([0.6, 0.84, 0.936]) and values[-1] > 0.99
        assert values == sorted(values)

    def test_stays_at_nothing_where_it_is_something_else(self, view):
        assert {score.value for score in run(LikenessGate(self.WEIGHTS), [view(n, tags=tags(n9=1.0)) for n in range(5)])} == {
            0.0
        }

    def test_is_in_between_for_what_is_somewhat_like_it(self, view):
        [*_, last] = run(LikenessGate(self.WEIGHTS), [view(n, tags=tags(n6=1.0)) for n in range(20)])
        assert last.value == pytest.approx(1 / 3, abs=1e-3)

    def test_one_odd_frame_lasts_no_longer_than_a_few(self, view):
        odd = [view(n, tags=tags(n3=0.7) if n == 5 else tags(n9=1.0)) for n in range(12)]
        values = [score.value for score in run(LikenessGate(self.WEIGHTS), odd)]
        assert max(values) < LikenessGate.threshold and values[-1] < 0.01

    def test_is_a_level_that_keeps_where_nobody_looked(self, view):
        first, second = run(LikenessGate(self.WEIGHTS), [view(0.0, tags=tags(n3=1.0)), view(1.0)])
        assert first.value == second.value == 0.6 and not second.momentary

    def test_no_weights_to_speak_of_are_no_likeness_of_everything(self, view):
        [score] = run(LikenessGate(np.full(1000, 0.001, np.float32)), [view(0.0, tags=np.full(1000, 0.001, np.float32))])
        assert score.value < 0.05


class TestPolling:
    def test_wakes_at_the_first_frame_and_then_at_its_interval(self, view):
        scores = run(PollingGate(5.0), [view(n / 10) for n in range(160)])
        assert [n / 10 for n, score in enumerate(scores) if score.momentary] == [0.0, 5.0, 10.0, 15.0]
        assert {score.value for score in scores} == {0.0, 1.0}

    def test_after_a_gap_it_asks_at_once_and_only_once(self, view):
        times = [0.0, 1.0, 30.0, 31.0, 34.9, 35.0]
        assert [score.momentary for score in run(PollingGate(5.0), [view(time) for time in times])] == [
            True, False, True, False, False, True,
        ]  # fmt: skip

    def test_does_not_care_what_happens(self, view, happened):
        _, score = run(PollingGate(5.0), [view(0.0), view(1.0, happened("appears", "person"))])
        assert score.value == 0.0

    def test_every_nth(self, view):
        scores = run(EveryNthGate(3), [view(n) for n in range(8)])
        assert [score.momentary for score in scores] == [True, False, False, True, False, False, True, False]

    def test_names_say_how_often(self):
        assert (PollingGate(0.5).name, PollingGate(30.0).name, EveryNthGate(30).name) == ("poll:0.5", "poll:30", "every:30")
