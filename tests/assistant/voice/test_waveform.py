"""Sound made of harmonics, noise and a rest."""

import numpy as np
import pytest

from serval.assistant.voice.waveform import RATE, waveform

SILENT, FULL = -60.0, np.log(300.0).astype(np.float32)  # a cosine of strength 1 is full


def parts(frames, **given):
    names = ("harmonic", "turned", "noise", "rest", "phase")
    usual = {
        name: np.full((601, frames), SILENT if name in ("harmonic", "noise", "rest") else 0.0, np.float32) for name in names
    }
    usual["pitch"] = np.zeros(frames, np.float32)
    return usual | given


def loudest(sound):
    """Hz of the strongest part of the middle of a sound."""
    middle = sound[len(sound) // 4 : -len(sound) // 4] * np.hanning(len(sound[len(sound) // 4 : -len(sound) // 4]))
    return float(np.fft.rfftfreq(len(middle), 1 / RATE)[np.abs(np.fft.rfft(middle)).argmax()])


@pytest.mark.parametrize("hertz", [100.0, 220.0, 330.0])
def test_a_pitch_is_heard_at_its_frequency(hertz):
    low = np.full((601, 80), SILENT, np.float32)
    low[: round(1.5 * hertz / 20)] = FULL  # only the first harmonic: bins are 20 Hz apart
    sound = waveform(**parts(80, harmonic=low, pitch=np.full(80, hertz, np.float32)))
    assert sound.shape == (80 * 300,) and sound.dtype == np.float32
    assert abs(loudest(sound) - hertz) < 3
    inside = sound[3000:-3000]
    assert 0.9 < np.sqrt(2 * np.mean(inside**2)) < 1.1


def test_below_a_voice_there_are_no_harmonics():
    sound = waveform(**parts(40, harmonic=np.full((601, 40), FULL), pitch=np.full(40, 30.0, np.float32)))
    assert np.abs(sound).max() < 1e-6


def test_harmonics_add_up_to_their_sum():
    pitch = np.full(60, 200.0, np.float32)
    sound = waveform(**parts(60, harmonic=np.full((601, 60), FULL), pitch=pitch))
    time = np.cumsum(np.full(len(sound), 200.0 / RATE))
    expected = sum(np.cos(2 * np.pi * each * time) for each in range(1, 56))  # up to 11 kHz
    np.testing.assert_allclose(sound[2000:-2000], expected[2000:-2000], atol=0.02 * np.abs(expected).max())


def test_noise_is_the_same_for_the_same_seed_and_as_loud_as_it_is_said_to_be():
    noise = np.zeros((601, 100), np.float32)
    one, same, other = (waveform(**parts(100, noise=noise), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
    louder = waveform(**parts(100, noise=noise + np.log(2.0).astype(np.float32)), seed=1)
    np.testing.assert_allclose(louder, 2 * one, rtol=1e-3, atol=1e-6)


def test_the_rest_has_its_own_phase():
    rest = np.full((601, 50), SILENT, np.float32)
    rest[50] = 5.0  # 1000 Hz, which turns by 12.5 whole times from frame to frame
    turning = np.tile((np.arange(50) * np.pi).astype(np.float32), (601, 1))
    assert abs(loudest(waveform(**parts(50, rest=rest, phase=turning))) - 1000) < 5
