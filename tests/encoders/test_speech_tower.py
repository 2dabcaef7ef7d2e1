"""The speech tower: Kaldi's numbers, a count of tokens that is a formula, and sounds that do not hear each other's padding."""

import numpy as np
import pytest
import torch

from serval.encoders.sound import Sound
from serval.encoders.speech_tower import SpeechTower, _distances, log_mel, moments
from serval.refusal import Refusal


def noise(seconds, seed=0):
    return Sound(np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def tower():
    made = SpeechTower(width=32, layers=2, heads=4, hidden=64, mels=24)
    torch.manual_seed(1)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("mels", [24, 80])
def test_log_mel_is_kaldi_s(mels):
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    filters = mel_filter_bank(257, mels, 20, 8000, 16_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True)
    samples = noise(0.5).samples + 0.05
    expected = spectrogram(
        samples * 2**15,
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    found = log_mel(torch.from_numpy(samples), mels)
    assert found.shape == (1 + (8000 - 400) // 160, mels)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("frames", [7, 8, 10, 11, 12, 50, 203])
def test_tokens_are_as_many_as_the_formula_says(tower, frames):
    heard = tower.encode(type(tower.prepare([noise(0.1)]))(torch.randn(1, frames, 24)))
    assert heard.tokens.shape == (1, moments(frames), 32) and moments(frames) == len(range(frames)[2::2][2::2])


def test_a_sound_in_company_is_what_it_is_alone(tower):
    sounds = [noise(0.4), noise(1.1, 1)]
    together = tower.encode(tower.prepare(sounds))
    for row, sound in enumerate(sounds):
        alone = tower.encode(tower.prepare([sound]))
        assert alone.valid.all() and int(together.valid[row].sum()) == alone.tokens.shape[1]
        torch.testing.assert_close(together.tokens[row, together.valid[row]], alone.tokens[0], atol=1e-5, rtol=1e-4)
        assert torch.equal(together.times[row, together.valid[row]], alone.times[0])


def test_only_distances_count(tower):
    """The same sound later in a long one is heard alike by a layer that sees just it."""
    layer, count = tower.layers[0], 5
    hidden = torch.randn(1, count, 32)
    alone = layer(hidden, _distances(count, 32), torch.ones(1, count, dtype=torch.bool))
    later = torch.cat([torch.zeros(1, 3, 32), hidden], 1)
    valid = torch.tensor([[False] * 3 + [True] * count])
    torch.testing.assert_close(layer(later, _distances(count + 3, 32), valid)[:, 3:], alone, atol=1e-5, rtol=1e-4)
    swapped = layer(hidden.flip(1), _distances(count, 32), torch.ones(1, count, dtype=torch.bool)).flip(1)
    assert (swapped - alone).abs().max() > 1e-2  # but before and behind are not the same


def test_too_short_a_sound_is_refused(tower):
    with pytest.raises(Refusal, match=r"a token needs 0\.085 s"):
        tower.prepare([noise(0.08)])
    assert tower.encode(tower.prepare([noise(0.085)])).tokens.shape[1] == 1
    with pytest.raises(Refusal, match="6 frames of sound"):
        tower.encode(type(tower.prepare([noise(0.1)]))(torch.randn(1, 6, 24)))


def test_statistics_are_the_data_s(tower):
    made = SpeechTower(width=32, layers=1, heads=4, hidden=64, mels=24)
    made.measure([noise(2.0)])
    heard = log_mel(torch.from_numpy(noise(2.0).samples), 24)
    scaled = (heard - made.statistics[0]) / made.statistics[1]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(24), atol=1e-4, rtol=0)
    assert made.identity() != SpeechTower(width=32, layers=1, heads=4, hidden=64, mels=24).identity()


def test_depths_and_silence(tower):
    heard = tower.encode(tower.prepare([Sound(np.zeros(4000, np.float32), 16_000)]), taps=(0, -1))
    assert all(torch.isfinite(each).all() for each in (heard.tokens, *heard.taps))
    torch.testing.assert_close(tower.norm(heard.taps[1]), heard.tokens)
