"""Small real videos, made once a session."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

_MILLISECOND = Fraction(1, 1000)


def picture(index: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A grey that grows with ``index``, and a red square that moves."""
    rgb = np.full((height, width, 3), 40 + (index * 4) % 160, np.uint8)
    left = (index * 3) % max(1, width - 30)
    rgb[height // 4 : height // 2, left : left + 30] = (230, 20, 20)
    return rgb


def write_clip(
    path: Path,
    pictures,
    *,
    codec: str = "libx264",
    container: str | None = None,
    times=None,
    fps: int = 25,
    sound: bool = False,
    options=None,
    codec_options=None,
) -> Path:
    """Encode ``pictures`` (RGB arrays, or an empty list) to ``path``; ``times`` in seconds make the rate variable."""
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        stream = voice = None
        if len(pictures):
            stream = out.add_stream(codec, rate=fps, options=codec_options or {})
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "rawvideo": "yuv420p"}.get(codec, "yuv420p")
            if stream.width % 2 or stream.height % 2:
                stream.pix_fmt = "yuv444p"
            if times is not None:
                stream.codec_context.time_base = _MILLISECOND
        if sound:
            voice = out.add_stream("mp2", rate=16000, layout="mono")
        for index, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 1000), _MILLISECOND
            out.mux(stream.encode(frame))
        if stream is not None:
            out.mux(stream.encode())
        if voice is not None:
            for index in range(20):
                hum = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
                hum.sample_rate, hum.pts = 16000, index * 1600
                out.mux(voice.encode(hum))
            out.mux(voice.encode())
    return path


@pytest.fixture(scope="session")
def draw():
    return picture


@pytest.fixture(scope="session")
def write():
    return write_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A folder with the same two seconds in many containers."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = [picture(index) for index in range(50)]
    kinds = {
        "mp4": "libx264", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264", "mpg": "mpeg2video", "flv": "flv",
        "webm": "libvpx",
        "mjpeg": "mjpeg", "h264": "libx264", "y4m": "rawvideo", "ivf": "libvpx", "asf": "wmv2",
    }  # fmt: skip
    for suffix, codec in kinds.items():
        write_clip(folder / f"a.{suffix}", pictures, codec=codec, container="mpegts" if suffix == "ts" else None)
    write_clip(folder / "front.mp4", pictures, options={"movflags": "+faststart"}, codec_options={"g": "10"})
    return folder
