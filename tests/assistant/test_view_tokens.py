"""What a streaming model is shown of a frame: what is where, as it is now, twice a second, and in a memory of fixed size."""

import numpy as np
import pytest

from serval.assistant.perception.followed import GROUPS
from serval.assistant.view import Change, ChangeKind, Scene, Track, View
from serval.assistant.view_tokens import PLACE, PLACES, SCENE, TEXT, Shown
from serval.encoders.percept import Hand, Percept
from serval.media.box import Box

TOP_LEFT = Box(0.02, 0.02, 0.3, 0.3)
DOG, CAR = GROUPS.index("dog"), GROUPS.index("vehicle")
HAND, MOVED, NOVELTY = 2 * len(GROUPS), TEXT + 1, TEXT + 2


def view(time=0.0, *tracks, changes=(), luma=0, **seen):
    percept = Percept("door", round(time * 8), time, np.full((36, 64), luma, np.uint8), **seen)
    return View(percept, 0.0, tuple(tracks), tuple(changes), scene=Scene(1, 0.0, novelty=0.25))


def track(label, box, *, settled=True, score=0.8):
    return Track(1, label, score, box, 0.0, 0.0, settled)


def read(*views):
    shown = Shown()
    for each in views:
        shown = shown.seen(each)
    return shown.read(views[-1])[1]


def test_things_stand_in_the_whole_and_in_their_cell():
    scene, places = read(view(0.0, track("dog", TOP_LEFT), track("vehicle", Box(0.4, 0.4, 1.0, 1.0), settled=False)))
    assert scene.shape == (SCENE,) and places.shape == (PLACES, PLACE)
    assert places[0, DOG] == places[1, DOG] == pytest.approx(0.8)
    assert not places[2:, DOG].any()
    assert places[9, len(GROUPS) + CAR] == pytest.approx(0.8) and not places[:, CAR].any()  # it is not settled
    assert places[:, NOVELTY] == pytest.approx(0.25)


def test_a_name_that_somebody_taught_is_passed_over():
    assert not read(view(0.0, track("my mug", TOP_LEFT)))[1][:, : 2 * len(GROUPS)].any()


def test_what_came_between_two_frames_is_kept_until_the_next_and_not_longer():
    text = Change(ChangeKind.TEXT, 0.25, 0.25, box=TOP_LEFT)
    shown, _ = Shown().seen(view(0.0)).read(view(0.0))
    for between in (view(0.125, hands=(Hand(TOP_LEFT, 0.7),)), view(0.25, changes=(text,))):
        shown = shown.seen(between)
        assert not shown.due(between)
    last = view(0.5)
    assert shown.seen(last).due(last)
    after, (_, places) = shown.seen(last).read(last)
    assert places[1, HAND] == pytest.approx(0.7) and places[1, TEXT] == 1.0 and places[9, TEXT] == 0.0
    _, (_, places) = after.seen(view(1.0)).read(view(1.0))
    assert not places[:, HAND].any() and not places[:, TEXT].any()


def test_the_last_look_stays_and_its_length_does_not_count():
    feature = np.arange(SCENE, dtype=np.float32)
    once, twice = (read(view(0.0, feature=scale * feature), view(0.5))[0] for scale in (1.0, 7.0))
    np.testing.assert_allclose(once, twice, rtol=1e-5)
    assert np.linalg.norm(once) == pytest.approx(35.0, rel=1e-5)


def test_motion_is_against_the_last_frame_that_was_read():
    shown, (_, first) = Shown().seen(view(0.0, luma=10)).read(view(0.0, luma=10))
    _, (_, second) = shown.seen(view(0.5, luma=18)).read(view(0.5, luma=18))
    assert not first[:, MOVED].any() and second[:, MOVED] == pytest.approx(0.5)


def test_it_never_grows():
    shown = Shown()
    for number in range(500):
        texts = [Change(ChangeKind.TEXT, number / 8, 0.0, box=TOP_LEFT)] * 3
        shown = shown.seen(view(number / 8, changes=texts, hands=(Hand(TOP_LEFT, 0.5),)))
    assert len(shown.texts) <= PLACES and len(shown.hands) == 1
