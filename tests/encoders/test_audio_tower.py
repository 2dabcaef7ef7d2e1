"""Every audio family gives transformers' numbers, and says when what it heard was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from serval.encoders.audio_families import AUDIO_FAMILIES
from serval.encoders.features import Batch
from serval.encoders.sound import Sound
from serval.refusal import Refusal

KINDS = sorted(AUDIO_FAMILIES)


def speech(seconds: float, rate: int, seed: int = 0) -> Sound:
    """Noise in syllables, about as loud as speech."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave = generator.normal(size=len(time)) * (0.2 + 0.15 * np.sin(2 * np.pi * 5 * time))
    return Sound((wave * 0.3).astype(np.float32), rate)


def length(tower) -> float:
    """Seconds that suit the tower: all it can hear."""
    return tower.longest or 0.5


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.05


@pytest.mark.parametrize("kind", ["whisper", "audio-spectrogram-transformer", "wav2vec2"])
def test_columns_give_the_numbers_of_transformers(tiny, kind):
    tower = tiny(kind)
    batch = tower.prepare([speech(length(tower), tower.rate, seed) for seed in (1, 2)])
    with torch.no_grad():
        expected = tower.model(batch.values, output_hidden_states=True)
    depth = len(tower.widths) - 1
    found = tower.encode(batch, taps=[*range(depth), -2, -1])
    prefix = 2 if kind == "audio-spectrogram-transformer" else 0
    close(found.tokens, expected.last_hidden_state[:, prefix:])
    for tap, state in zip(found.taps, [*expected.hidden_states[:-1], expected.hidden_states[-2]], strict=False):
        close(tap, state[:, prefix:])
    if kind == "whisper":  # transformers gives the normed one again
        close(tower.model.layer_norm(found.taps[-1]), expected.hidden_states[-1])
    else:
        close(found.taps[-1], expected.hidden_states[-1][:, prefix:])
    if prefix:
        close(found.prefix, expected.last_hidden_state[:, :2])
        close(found.pooled, expected.pooler_output)
    assert found.valid.all() or kind == "audio-spectrogram-transformer"


@pytest.mark.parametrize("fusion", [False, True])
def test_clap_gives_the_numbers_of_transformers(tiny, fusion):
    options = (("enable_fusion", True), ("fusion_type", "2d"), ("patch_embed_input_channels", 1)) if fusion else ()
    tower = tiny("clap_audio_model", *options)
    batch = tower.prepare([speech(length(tower), tower.rate), speech(0.7, tower.rate, 1)])
    longer = torch.zeros(2, 1, dtype=torch.bool)
    with torch.no_grad():
        expected = tower.model(batch.values, is_longer=longer, output_hidden_states=True)
        found = tower.encode(batch, taps=range(len(tower.widths)))
    close(found.map.permute(0, 3, 1, 2), expected.last_hidden_state)
    close(found.pooled, expected.pooler_output)
    assert found.grid == tuple(expected.last_hidden_state.shape[-2:])
    # The last stage is not halved: folded again, its map is that of transformers, pieces of time one above the other.
    rows, columns = found.tap_grids[-1]
    folded = found.taps[-1].transpose(1, 2).reshape(2, -1, rows, 4, columns // 4).transpose(2, 3).flatten(2, 3)
    close(folded, expected.hidden_states[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_moment_of_the_sound_is_that_moment_of_the_tokens(tiny, kind):
    """What enters the first layer knows little more than its own moment, so one that changes shows when it was."""
    tower = tiny(kind)
    quiet = speech(length(tower), tower.rate)
    quiet.samples[0] = 1.0  # the loudest moment stays the same
    before = tower.encode(tower.prepare([quiet]), taps=[0])
    for second in (0.25 * quiet.seconds, 0.8 * quiet.seconds):
        samples = quiet.samples.copy()
        around = slice(round((second - 0.006) * tower.rate), round((second + 0.006) * tower.rate))
        samples[around] = 0.6 * np.sign(samples[around])
        after = tower.encode(tower.prepare([Sound(samples, tower.rate)]), taps=[0])
        difference = (after.taps[0] - before.taps[0]).abs().sum(-1)[0]
        if kind == "clap_audio_model":  # its first map is finer than its last
            columns = before.tap_grids[0][1]
            found = (int(difference.reshape(-1, columns).sum(0).argmax()) + 0.5) / columns * length(tower)
        else:
            found = before.times[0, int(difference.argmax())]
        tolerance = 0.1 if kind == "audio-spectrogram-transformer" else 0.04  # its patches last 160 ms
        assert abs(float(found) - second) < tolerance


@pytest.mark.parametrize(
    ("kind", "first", "step", "columns"),
    [
        ("whisper", 0.01, 0.02, 50),  # two frames of 10 ms
        ("audio-spectrogram-transformer", 0.08, 0.1, 5),  # 16 frames, every 10
        ("wav2vec2", (9 + 7 * 8 + 3 * 40 + 1) / 2 / 16000, 0.01, 49),  # of the kernels 10, 8, 4 at strides 8, 5, 4
        ("clap_audio_model", 1 / 32, 1 / 16, 32),
    ],
)
def test_times_are_the_middle_of_what_a_token_hears(tiny, kind, first, step, columns):
    tower = tiny(kind)
    features = tower.encode(tower.prepare([speech(length(tower), tower.rate)]))
    times = features.times[0].reshape(-1, columns)
    assert features.times.shape == features.tokens.shape[:2]
    assert_close(times[0], first + step * torch.arange(columns), rtol=0, atol=1e-5)
    assert torch.equal(times, times[:1].expand_as(times))


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_heard_padding_only_are_not_valid(tiny, kind):
    tower = tiny(kind)
    long, short = speech(length(tower), tower.rate), speech(0.3 * length(tower), tower.rate)
    features = tower.encode(tower.prepare([long, short]))
    for row, sound in enumerate((long, short)):
        heard = features.times[row][features.valid[row]]
        lost = features.times[row][~features.valid[row]]
        assert 0 < heard.max() < sound.seconds + 0.1
        assert lost.numel() == 0 or lost.min() > sound.seconds - 0.1
    assert 0.2 < features.valid[1].float().mean() / features.valid[0].float().mean() < 0.45


def test_wav2vec2_hears_a_sound_the_same_with_others_beside_it(tiny):
    tower = tiny("wav2vec2")
    long, short = speech(0.5, 16000), speech(0.2, 16000, 3)
    together = tower.encode(tower.prepare([long, short]), taps=[-2])
    alone = tower.encode(tower.prepare([short]), taps=[-2])
    count = alone.tokens.shape[1]
    assert together.valid[1].sum() == count and together.valid[1, :count].all()
    assert_close(together.tokens[1, :count], alone.tokens[0], rtol=1e-5, atol=1e-5)
    assert_close(together.taps[0][1, :count], alone.taps[0][0], rtol=1e-5, atol=1e-5)


def test_wav2vec2_without_a_mask_and_with_an_adapter(tiny):
    """The first models (group norm) were trained without a mask, and an adapter halves the tokens again."""
    plain = tiny("wav2vec2", ("feat_extract_norm", "group"))
    assert plain.extractor.return_attention_mask is False
    batch = plain.prepare([speech(0.4, 16000), speech(0.3, 16000)])
    close(plain.encode(batch).tokens, plain.model(batch.values).last_hidden_state)
    options = (("add_adapter", True), ("num_adapter_layers", 1), ("adapter_stride", 2), ("output_hidden_size", 12))
    adapted = tiny("wav2vec2", *options)
    batch = adapted.prepare([speech(0.4, 16000)])
    features = adapted.encode(batch)
    close(features.tokens, adapted.model(batch.values).last_hidden_state)
    assert adapted.width == features.tokens.shape[-1] == 12 and adapted.widths == (16,) * 4
    assert_close(features.times[0].diff(), torch.full((features.tokens.shape[1] - 1,), 0.02))


def test_whisper_hears_shorter_windows(tiny):
    """The same as its own positions cut off: transformers' model with fewer of them."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    tower = tiny("whisper")
    sound = speech(0.37, 16000)
    batch = tower.prepare([sound], window=0.4)
    assert batch.values.shape == (1, 80, 40)
    config = type(tower.config)(**{**tower.config.to_dict(), "max_source_positions": 20})
    cut = WhisperEncoder(config).eval()
    weights = {name: tensor[:20] if "positions" in name else tensor for name, tensor in tower.model.state_dict().items()}
    cut.load_state_dict(weights)
    found = tower.encode(batch)
    with torch.no_grad():
        close(found.tokens, cut(batch.values).last_hidden_state)
    assert found.tokens.shape[1] == 20 and int(found.valid.sum()) == 19
    assert tower.encode(tower.prepare([sound])).tokens.shape[1] == 50
    with pytest.raises(Refusal, match=r"102 frames: whisper hears 100"):
        tower.encode(Batch(torch.zeros(1, 80, 102)))


@pytest.mark.parametrize("bins", [80, 128])
def test_whispers_mel_is_that_of_transformers(tiny, bins):
    from transformers import WhisperFeatureExtractor

    tower = tiny("whisper", ("num_mel_bins", bins), ("max_source_positions", 1500))
    sounds = [speech(2.3, 16000), speech(30, 16000, 4)]
    expected = WhisperFeatureExtractor(feature_size=bins)([s.samples for s in sounds], sampling_rate=16000, return_tensors="pt")
    found = tower.prepare(sounds)
    assert found.values.shape == (2, bins, 3000) and found.seconds.tolist() == [2.3, 30.0]
    assert torch.equal(found.values, expected["input_features"])
    # A shorter window is the beginning of the long one, but for the frames at its end and the shared loudest one.
    short = tower.prepare(sounds[:1], window=4.0).values
    assert_close(short[0, :, :220], found.values[0, :, :220])


def test_the_other_inputs_are_those_of_transformers(tiny):
    from transformers import ASTFeatureExtractor, ClapFeatureExtractor, Wav2Vec2FeatureExtractor

    sound = speech(0.4, 16000)
    ast = ASTFeatureExtractor(num_mel_bins=32, max_length=56)(sound.samples, sampling_rate=16000, return_tensors="pt")
    assert torch.equal(tiny("audio-spectrogram-transformer").prepare([sound]).values, ast["input_values"])
    wave = Wav2Vec2FeatureExtractor()(sound.samples, sampling_rate=16000, return_tensors="pt")
    assert torch.equal(tiny("wav2vec2").prepare([sound]).values, wave["input_values"])
    sound = speech(0.9, 48000)
    clap = ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="rand_trunc")
    expected = clap(sound.samples, sampling_rate=48000, return_tensors="pt")["input_features"]
    assert torch.equal(tiny("clap_audio_model").prepare([sound]).values, expected.float())


def test_sounds_of_another_rate_are_resampled(tiny):
    """A tone stays the tone that it was."""
    time = np.arange(44100 // 2) / 44100
    tone = Sound(np.sin(2 * np.pi * 440 * time).astype(np.float32), 44100)
    heard = tone.at(16000)
    assert len(heard.samples) == 8000 and heard.rate == 16000
    expected = np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    assert np.abs(heard.samples - expected)[100:-100].max() < 2e-3
    assert tone.at(44100) is tone
    tower = tiny("wav2vec2")
    assert tower.prepare([tone]).values.shape == (1, 8000)


@pytest.mark.parametrize(
    ("kind", "seconds", "window", "said"),
    [
        ("whisper", 1.01, None, "whisper hears 1 s at once; cut it into windows"),
        ("whisper", 0.5, 0.4, "whisper hears 0.4 s at once"),
        ("whisper", 0.5, 2.0, "a window of 2 s: whisper hears up to 1 s"),
        ("whisper", 0.5, 0.0, "a window of 0 s"),
        ("audio-spectrogram-transformer", 0.6, None, "hears 0.56 s at once"),
        ("audio-spectrogram-transformer", 0.02, None, "needs 0.025 s"),
        ("audio-spectrogram-transformer", 0.3, 0.4, "a window for audio-spectrogram-transformer: it hears its own only"),
        ("wav2vec2", 0.01, None, "needs 0.011625 s"),
        ("wav2vec2", 0.5, 1.0, "a window for wav2vec2"),
        ("clap_audio_model", 2.1, None, "hears 2 s at once"),
    ],
)
def test_sounds_that_a_tower_cannot_hear(tiny, kind, seconds, window, said):
    tower = tiny(kind)
    with pytest.raises(Refusal, match=said):
        tower.prepare([speech(seconds, tower.rate)], window=window)


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 9), np.float32), np.zeros(0, np.float32), np.zeros(9, np.int16), np.full(9, np.nan)]
)
def test_what_is_no_sound(samples):
    with pytest.raises(ValueError, match="sound"):
        Sound(samples, 16000)


def test_nothing_to_hear(tiny):
    with pytest.raises(ValueError, match="nothing to hear"):
        tiny("whisper").prepare([])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_need_not_say_how_long_it_is(tiny, kind):
    """Without lengths all of it is heard."""
    tower = tiny(kind)
    batch = tower.prepare([speech(length(tower), tower.rate)])
    features = tower.encode(Batch(batch.values))
    assert features.valid is None
    assert_close(features.tokens, tower.encode(batch).tokens)
