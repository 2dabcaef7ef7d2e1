"""Which scene it is: only another place is another scene."""

from itertools import pairwise

import numpy as np
import pytest

from serval.assistant.perception.scenes import correlation
from serval.assistant.view import ChangeKind
from serval.encoders.percept import Looks

SEES = Looks(detect=True, features=True)


def scenes(views):
    return [change for view in views for change in view.changes if change.kind is ChangeKind.SCENE]


def test_the_first_look_is_the_first_scene(stage):
    views = list(stage().play(10, looks=SEES))
    [change] = scenes(views)
    assert change.time == 0.0 and views[-1].scene.id == 1 and views[-1].scene.novelty == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    "disturbed",
    [
        {"noise": 3.0},
        {"gain": lambda time: 1.0 + 0.3 * np.sin(time)},
        {"gain": lambda time: 1.0 if time < 5 else 0.5},
        {"shake": 2.0},
        {"noise": 2.0, "shake": 1.5, "gain": lambda time: 1.2 if time > 4 else 0.8},
    ],
    ids=["noise", "clouds", "lamp", "shake", "all"],
)
def test_disturbances_are_no_scenes(stage, disturbed):
    assert len(scenes(stage(**disturbed).play(20, looks=SEES))) == 1


class Portrait:
    """A stage whose features turn into a person's while one fills much of the picture."""

    def __init__(self, stage, start, end):
        self.stage, self.span = stage, (start, end)

    def play(self, perception, until):
        other = type(self.stage)(places=((0.0, 77),))
        for index in range(round(until * 10)):
            time = index / 10
            _, looks = perception.plan(self.stage.luma(time), time)
            percept = self.stage.percept(time, looks, index)
            if percept.feature is not None and self.span[0] <= time < self.span[1]:
                object.__setattr__(percept, "feature", other.percept(time, looks).feature)
            yield perception.update(percept)


def test_a_person_who_fills_much_of_the_picture_is_none(stage, thing):
    from serval.assistant.perception import Perception

    person = thing("person", ((5.0, 1.3, 0.5), (6.0, 0.6, 0.5), (12.0, 0.6, 0.5), (13.0, 1.3, 0.5)), size=(0.28, 1.0), grey=120)
    views = list(Portrait(stage([person]), 5.5, 12.5).play(Perception(SEES), 20))
    assert len(scenes(views)) == 1
    assert max(view.scene.novelty for view in views) > 0.9  # though it looks like something else altogether


def test_another_place_is(stage):
    views = list(stage(places=((0.0, 0), (6.0, 3))).play(15, looks=SEES))
    _first, second = scenes(views)
    assert 6.0 <= second.started <= second.time <= 6.6
    assert views[-1].scene.id == 2 and views[59].scene.id == 1


def test_a_hard_cut_is_told_at_once(stage):
    cut = stage(places=((0.0, 0), (6.0, 3)), gain=lambda time: 1.0 if time < 6 else 1.6)
    times = [change.time for change in scenes(cut.play(12, looks=SEES))]
    assert times == [0.0, 6.0]


def test_a_soft_change_has_to_stand(stage):
    """The picture changes without a jump that makes a cut: two looks must agree."""

    class Dissolve(stage):
        def luma(self, time):
            share = float(np.clip((time - 6.0) / 2.0, 0, 1))
            before, after = stage(places=((0.0, 0),)), stage(places=((0.0, 3),))
            return ((1 - share) * before.luma(0.0) + share * after.luma(0.0)).astype(np.uint8)

    _first, second = scenes(Dissolve(places=((0.0, 0), (7.0, 3))).play(15, looks=SEES))
    assert second.time - second.started >= 0.3 - 1e-6 and 7.0 <= second.started < 9.0


def test_cuts_faster_than_a_second_are_not_all_told(stage):
    flashing = tuple((6.0 + 0.2 * n, n % 7) for n in range(40))
    times = [change.time for change in scenes(stage(places=((0.0, 9), *flashing)).play(16, looks=SEES))]
    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in pairwise(times))


def test_going_back_is_another_scene_again(stage):
    views = list(stage(places=((0.0, 0), (6.0, 3), (12.0, 0))).play(18, looks=SEES))
    assert [round(change.started) for change in scenes(views)] == [0, 6, 12]


def test_scene_ids_only_grow(stage):
    views = list(stage(places=((0.0, 0), (6.0, 3), (12.0, 0))).play(18, looks=SEES))
    ids = [view.scene.id for view in views]
    assert ids == sorted(ids) and ids[-1] == 3


def test_correlation_disregards_brightness_and_contrast():
    picture = np.random.default_rng(0).integers(20, 100, (36, 64)).astype(np.uint8)
    assert correlation(picture, picture * 2 + 10) == pytest.approx(1.0, abs=1e-5)
    assert correlation(picture, 200 - picture) == pytest.approx(-1.0, abs=1e-5)
    assert correlation(np.zeros_like(picture), np.full_like(picture, 9)) == 1.0
