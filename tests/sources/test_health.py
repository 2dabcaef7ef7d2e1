"""What is wrong with a live source is told once, within 20 seconds, and so is its end."""

import numpy as np
import pytest

from serval.sources.health import Health
from serval.sources.reconnect import Backoff
from serval.sources.source import NoteKind


def scene(seed, noise=0.0):
    """A picture ``[36, 64]`` with this much noise."""
    random = np.random.default_rng(seed)
    ramp = np.tile(np.linspace(20, 200, 64), (36, 1)) + random.normal(0, noise, (36, 64))
    return np.clip(np.round(ramp), 0, 255).astype(np.uint8)


def feed(health, lumas, start=0.0, fps=5):
    """(kind, time) of every note while pictures come."""
    notes = []
    for index, luma in enumerate(lumas):
        notes += health.picture(luma, start + index / fps)
    return [(note.kind, note.time) for note in notes]


def test_the_same_picture_is_told_once_within_twenty_seconds_and_when_it_moves_again():
    health = Health("cam")
    notes = feed(health, [scene(0)] * 300)
    assert [kind for kind, _ in notes] == [NoteKind.FROZEN]
    assert notes[0][1] <= 20
    assert feed(health, [scene(1, 20)], start=60) == [(NoteKind.THAWED, 60)]
    assert feed(health, [scene(1, 20)] * 80, start=60.2)[0][0] is NoteKind.FROZEN  # and it may happen again


def test_a_frozen_picture_that_is_encoded_anew_is_still_frozen():
    """A decoder's rounding differs by a level here and there."""
    random, frozen = np.random.default_rng(0), scene(0)
    lumas = []
    for _ in range(100):
        luma = frozen.copy()
        luma[random.integers(0, 36, 40), random.integers(0, 64, 40)] += 1
        lumas.append(luma)
    assert [kind for kind, _ in feed(Health("cam"), lumas)] == [NoteKind.FROZEN]


def test_a_quiet_scene_with_a_sensors_noise_is_not_frozen():
    assert feed(Health("cam"), [scene(seed, noise=0.8) for seed in range(300)]) == []


def test_a_slow_change_is_not_frozen():
    lumas = [scene(0) + np.uint8(index // 20) for index in range(300)]  # one level in four seconds: dusk
    assert feed(Health("cam"), lumas) == []


@pytest.mark.parametrize(
    ("sound", "trouble", "over"), [(False, NoteKind.STALLED, NoteKind.BACK), (True, NoteKind.AUDIO_ONLY, NoteKind.VIDEO_BACK)]
)
def test_no_pictures(sound, trouble, over):
    health, notes = Health("cam", start=100), []
    health.picture(scene(0), 100)
    for tenth in range(1000, 1600):
        if sound:
            health.sound(tenth / 10)
        notes += health.tick(tenth / 10)
    assert [note.kind for note in notes] == [trouble]
    assert notes[0].time <= 120
    assert [note.kind for note in health.picture(scene(1), 160)] == [over]
    assert health.picture(scene(2, 9), 160.2) == []


def test_sound_that_ends_too_is_told():
    health = Health("cam")
    health.sound(5)
    notes = [note for second in range(60) for note in health.tick(second)]
    assert [note.kind for note in notes] == [NoteKind.AUDIO_ONLY, NoteKind.STALLED]
    assert notes[-1].time <= 25


def test_a_stall_is_not_a_frozen_picture():
    health = Health("cam")
    health.picture(scene(0), 0)
    assert [note.kind for note in health.tick(30)] == [NoteKind.STALLED]
    assert [note.kind for note in health.picture(scene(0), 30)] == [NoteKind.BACK]
    assert health.picture(scene(0), 30.2) == []


def test_a_picture_that_stays_over_a_reconnection_is_frozen_all_the_same():
    """As of a camera whose encoder hangs and whose connection breaks every few seconds."""
    health, notes = Health("cam"), []
    for second in range(40):
        if second % 6 == 0:
            health.connected(second)
        notes += health.picture(scene(0), second)
    assert [note.kind for note in notes] == [NoteKind.FROZEN]
    assert notes[0].time <= 20


def test_a_new_connection_has_its_own_patience():
    health = Health("cam")
    health.tick(15)
    health.connected(100)
    assert health.tick(105) == []
    assert [note.kind for note in health.tick(111)] == [NoteKind.STALLED]


def test_notes_name_the_source():
    health = Health("front")
    (note,) = health.tick(12)
    assert (note.source, note.text) == ("front", "front: connected, and no picture for 12 s")


# -- reconnecting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_delays_double_within_their_jitter_up_to_five_seconds(seed):
    backoff = Backoff(seed=seed)
    delays = [backoff.next() for _ in range(12)]
    steps = [0.5, 1, 2, 4, *[5] * 8]
    assert all(step / 2 <= delay <= step for step, delay in zip(steps, delays, strict=True))
    backoff.reset()
    assert 0.25 <= backoff.next() <= 0.5


def test_sources_do_not_come_back_all_at_once():
    assert len({round(Backoff(seed=seed).next(), 6) for seed in range(20)}) == 20
    assert [Backoff(seed=3).next() for _ in range(2)] == [Backoff(seed=3).next()] * 2
