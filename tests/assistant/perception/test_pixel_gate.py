"""The first tier: what it takes for a change, and what not."""

import numpy as np
import pytest

from serval.assistant.perception.luma_history import LumaHistory, changed_within
from serval.assistant.perception.perception import CHANGED
from serval.assistant.perception.pixel_gate import PixelGate, difference
from serval.media.box import Box

RNG = np.random.default_rng(5)
PLACE = np.kron(RNG.integers(40, 160, (6, 8)), np.ones((6, 8))).astype(np.uint8)


def examined(luma):
    gate = PixelGate()
    gate.examined(luma)
    return gate


def test_everything_has_changed_before_the_first_look():
    assert PixelGate().change(PLACE) == 1.0


def test_the_same_picture_is_no_change():
    assert examined(PLACE).change(PLACE.copy()) == 0.0


@pytest.mark.parametrize("gain", [0.6, 0.75, 0.9, 1.1, 1.3, 1.5])
def test_exposure_is_no_change(gain):
    assert examined(PLACE).change((PLACE * gain).astype(np.uint8)) < CHANGED


@pytest.mark.parametrize("seed", range(5))
def test_sensor_noise_is_no_change(seed):
    # The small picture is the mean of a hundred pixels, so a strong noise of 10 in the large one is 1 in it.
    rng = np.random.default_rng(seed)
    noisy = [np.clip(PLACE + rng.normal(0, 1.0, PLACE.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    assert examined(noisy[0]).change(noisy[1]) < CHANGED


def test_noise_and_exposure_together_hide_nothing_that_moves():
    darker = PLACE * 0.7 + RNG.normal(0, 1.0, PLACE.shape)
    assert examined(PLACE).change(darker.astype(np.uint8)) < CHANGED
    darker[10:14, 20:23] = 220
    assert examined(PLACE).change(darker.astype(np.uint8)) > 3 * CHANGED


def test_a_small_thing_that_moves_is_a_change():
    before, after = PLACE.copy(), PLACE.copy()
    before[12:15, 30:32] = 230
    after[12:15, 33:35] = 230
    assert examined(before).change(after) > 3 * CHANGED


def test_slow_changes_add_up_until_somebody_looks():
    gate, picture, steps = examined(PLACE), PLACE.astype(np.float32), []
    for _ in range(10):
        picture[10:20, 20:30] += 2.0  # two grey levels a step, below the threshold
        steps.append(gate.change(picture.astype(np.uint8)))
    assert steps[0] < CHANGED < steps[-1]
    assert steps == sorted(steps)
    gate.examined(picture.astype(np.uint8))
    assert gate.change(picture.astype(np.uint8)) == 0.0


def test_asking_changes_nothing():
    gate, other = examined(PLACE), np.full_like(PLACE, 255)
    before = gate.change(other)
    assert [gate.change(other) for _ in range(3)] == [before] * 3


def test_the_difference_is_nonnegative_and_of_the_pictures_shape():
    found = difference(PLACE, np.zeros_like(PLACE))
    assert found.shape == PLACE.shape and (found >= 0).all() and np.isfinite(found).all()


def test_a_change_is_measured_where_it_is():
    before = np.full_like(PLACE, 100)
    after = before.copy()
    after[18:30, 32:48] = 250
    assert changed_within(Box(0.5, 0.5, 0.75, 0.83), after, before) > 50
    assert changed_within(Box(0.0, 0.0, 0.3, 0.4), after, before) == 0.0
    assert changed_within(Box(0.2, 0.1, 0.9, 0.55), after, before) == 0.0  # the thing only touches its lower rim


def test_the_history_answers_with_the_last_picture_before_and_forgets():
    history = LumaHistory(seconds=2.0, spacing=0.5)
    pictures = {time: np.full((36, 64), round(time * 10), np.uint8) for time in np.arange(0.0, 10.0, 0.1)}
    for time, picture in pictures.items():
        history.add(picture, float(time))
    assert history.at(9.2)[0, 0] == 90
    assert history.at(9.0)[0, 0] == 90
    assert history.at(5.0) is None
    assert len(history._kept) <= 5
    history.clear()
    assert history.at(9.2) is None
