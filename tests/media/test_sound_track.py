"""The sound of a file: one channel, one rate, no holes, on the clock of the pictures, whatever the file holds."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from serval.media.limits import MediaLimits
from serval.media.open_video import open_sound
from serval.refusal import Refusal


def write(path, wave, *, rate=16_000, codec="pcm_s16le", form="s16", layout="mono", begins=0.0, skip=None):
    """A clip of two pictures with ``wave`` (n,), from ``begins`` seconds on, without the blocks in ``skip``."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=2)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        voice = out.add_stream(codec, rate=rate, layout=layout) if len(wave) else None
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90 * number, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode())
        channels = 2 if layout == "stereo" else 1
        for number, start in enumerate(range(0, len(wave), 1024)):
            part = np.repeat(wave[start : start + 1024], channels)[None]
            part = (part * 32767).astype(np.int16) if form == "s16" else part.astype(np.float32)
            frame = av.AudioFrame.from_ndarray(part, format=form, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start + round(begins * rate), Fraction(1, rate)
            if skip is None or number not in skip:
                out.mux(voice.encode(frame))
        if voice is not None:
            out.mux(voice.encode())
    return path


def heard(path, **options):
    track = open_sound(path, **options)
    assert track is not None
    blocks = list(track.blocks())
    track.close()
    for one, other in pairwise(blocks):
        assert other.time == pytest.approx(one.time + len(one.samples) / track.rate, abs=1e-9)
    return np.concatenate([each.samples for each in blocks]) if blocks else np.zeros(0, np.float32)


def tone(seconds, rate=16_000, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_samples_come_as_they_were(tmp_path):
    found = heard(write(tmp_path / "a.mkv", tone(1.0)))
    assert found.dtype == np.float32 and len(found) == 16_000
    np.testing.assert_allclose(found, tone(1.0), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "form", "rate", "layout"),
    [
        ("a.mp4", "aac", "fltp", 44_100, "mono"),
        ("a.mkv", "pcm_s16le", "s16", 48_000, "stereo"),
        ("a.avi", "mp2", "s16", 16_000, "mono"),
    ],
)
def test_any_rate_and_layout_becomes_one_channel_at_16_khz(tmp_path, name, codec, form, rate, layout):
    found = heard(write(tmp_path / name, tone(1.0, rate), rate=rate, codec=codec, form=form, layout=layout))
    assert abs(len(found) - 16_000) < 2500  # what a codec adds and takes at the ends
    spectrum = np.abs(np.fft.rfft(found[4000:12_000]))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 4 and 0.4 < np.abs(found[4000:12_000]).max() < 0.6


def test_holes_and_a_late_beginning_are_silence(tmp_path):
    found = heard(write(tmp_path / "a.mkv", tone(1.0), begins=0.5, skip=range(4, 8)))
    assert abs(len(found) - 24_000) <= 16
    quiet = np.abs(found) < 1e-3
    assert quiet[:7900].all() and not quiet[8000:8100].all() and quiet[8000 + 4200 : 8000 + 8100].all()
    np.testing.assert_allclose(found[8000 + 9000 : 8000 + 15_000], tone(1.0)[9000:15_000], atol=0.05)


def test_what_is_no_number_is_silence(tmp_path):
    wave = tone(0.5).astype(np.float32)
    wave[100:200], wave[300], wave[301] = np.nan, np.inf, -7.0
    found = heard(write(tmp_path / "a.mkv", wave, codec="pcm_f32le", form="flt"))
    assert np.isfinite(found).all() and found[150] == 0 and found[300] == 1 and found[301] == -1


def test_what_lasts_beyond_the_limit_is_refused_as_its_pictures_are(tmp_path):
    with pytest.raises(Refusal, match="it lasts 3 s"):
        open_sound(write(tmp_path / "a.mkv", tone(3.0)), limits=MediaLimits(duration=1.0))


def test_a_clip_without_sound_has_none_and_what_is_no_clip_is_refused(tmp_path):
    assert open_sound(write(tmp_path / "mute.mp4", tone(0.0))) is None
    (tmp_path / "a.mp4").write_bytes(b"RIFF" + b"\0" * 4 + b"WAVEfmt ")
    with pytest.raises(Refusal, match="sound alone"):
        open_sound(tmp_path / "a.mp4")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_damage_is_read_past(tmp_path, cut):
    path = write(tmp_path / "a.mkv", tone(2.0), codec="mp2")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(int(cut * 10))
    for place in rng.integers(len(data) // 3, len(data), 200):
        data[place] = int(rng.integers(256))
    path.write_bytes(data[: int(len(data) * cut)])
    try:
        track = open_sound(path)
    except Refusal:
        return
    if track is not None:
        assert all(np.isfinite(each.samples).all() for each in track.blocks())
        track.close()
