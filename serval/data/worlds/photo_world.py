"""The photo world: cut-outs moved over a background by a script, rendered frame by frame, with the truth beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.cast import Sprite
from serval.media.box import Box
from serval.media.frame import Frame

_SPARE = 97  # rows and columns that the sheet of noise has to spare


@dataclass(frozen=True)
class Truth:
    """Something that happens in the world: when, what, where, and how a person would put it."""

    kind: str  # appears, leaves, put, taken, text, moves
    time: float
    label: str
    phrase: str
    box: Box | None = None


@dataclass(frozen=True)
class Actor:
    """A sprite on a path. ``path`` holds (time, x, y) of its bottom centre in fractions; it exists between first and last."""

    sprite: Sprite
    path: tuple[tuple[float, float, float], ...]
    depth: float = 0.0  # larger is nearer
    mirrored: bool = False
    scale: float = 1.0

    def box(self, time: float, aspect: float) -> Box | None:
        """Where it is at ``time`` (may reach outside the picture), or None. ``aspect`` is the picture's width / height."""
        times = [point[0] for point in self.path]
        if not times[0] <= time < times[-1]:
            return None
        x = float(np.interp(time, times, [point[1] for point in self.path]))
        y = float(np.interp(time, times, [point[2] for point in self.path]))
        height = self.sprite.height * self.scale
        width = height * self.sprite.rgba.shape[1] / self.sprite.rgba.shape[0] / aspect
        return Box(x - width / 2, y - height, x + width / 2, y)


@dataclass(frozen=True)
class PhotoWorld:
    """A scripted stretch of video. The same world renders the same pixels everywhere.

    Attributes:
        shakes: (start, end, pixels) spans in which the camera trembles.
        lights: (time, gain) points between which the brightness is interpolated.
        noise: standard deviation of the sensor noise, of 255.
    """

    name: str
    background: NDArray[np.uint8]
    actors: tuple[Actor, ...]
    truth: tuple[Truth, ...]
    seconds: float
    seed: int = 0
    noise: float = 2.0
    shakes: tuple[tuple[float, float, float], ...] = ()
    lights: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    _cache: dict[tuple[int, bool], NDArray[np.float32]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.background.shape[1], self.background.shape[0]

    @cached_property
    def _layers(self) -> list[Actor]:
        return sorted(self.actors, key=lambda actor: actor.depth)

    def picture(self, time: float) -> NDArray[np.uint8]:
        """The world at ``time``: ``[height, width, 3]`` uint8."""
        width, height = self.size
        canvas = self.background.astype(np.float32)
        for actor in self._layers:
            if box := actor.box(time, width / height):
                self._paste(canvas, actor, box)
        rng = np.random.default_rng((self.seed, round(time * 1000)))
        for start, end, pixels in self.shakes:
            if start <= time < end:
                shift = rng.uniform(-pixels, pixels, 2)
                matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
                canvas = cv2.warpAffine(canvas, matrix, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        gain = np.interp(time, [point[0] for point in self.lights], [point[1] for point in self.lights])
        noisy = canvas * gain + self._grain(rng)
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def _grain(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Sensor noise: one sheet of it, laid on at another place in every picture, since drawing it anew takes longest."""
        width, height = self.size
        top, left = rng.integers(_SPARE, size=2)
        return self._sheet[top : top + height, left : left + width]

    @cached_property
    def _sheet(self) -> NDArray[np.float32]:
        width, height = self.size
        shape = (height + _SPARE, width + _SPARE, 3)
        return np.random.default_rng((self.seed, 7)).normal(0, self.noise, shape).astype(np.float32)

    def _paste(self, canvas: NDArray[np.float32], actor: Actor, box: Box) -> None:
        width, height = self.size
        key = (id(actor.sprite), actor.mirrored)
        sprite = actor.sprite.rgba[:, ::-1] if actor.mirrored else actor.sprite.rgba
        if key not in self._cache:  # colours multiplied by alpha, so that scaling leaves no dark rim
            alpha = sprite[..., 3:].astype(np.float32) / 255
            self._cache[key] = np.dstack([sprite[..., :3] * alpha, alpha])
        source = self._cache[key]
        scale_x, scale_y = box.width * width / source.shape[1], box.height * height / source.shape[0]
        matrix = np.array([[scale_x, 0, box.left * width], [0, scale_y, box.top * height]], np.float32)
        flat = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_AREA if scale_x < 1 else cv2.INTER_LINEAR)
        canvas *= 1 - flat[..., 3:]
        canvas += flat[..., :3]

    def frames(self, fps: float, source: str = "", start: float = 0.0) -> Iterator[Frame]:
        """All frames at ``fps``; ``start`` shifts their times, so that worlds can follow one another."""
        for index in range(int(self.seconds * fps)):
            time = index / fps
            yield Frame.from_rgb(self.picture(time), source=source or self.name, index=index, time=start + time)

    def write(self, path: Path, fps: float) -> None:
        """Render to a video file."""
        from serval.media.writer import VideoWriter

        with VideoWriter(path, *self.size, fps=fps) as writer:
            for frame in self.frames(fps):
                writer.write(frame.rgb, frame.time)
