"""A scripted stage: what the encoders would report of things that move, with pixels that really change where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from serval.assistant.perception import Perception
from serval.assistant.view import Change, View
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Hand, Looks, Percept, TextLine
from serval.media.box import Box

Says = dict[str, float]
EVERYTHING = Looks(detect=True, features=True, hands=True, text=True)


def scores(says: Says) -> np.ndarray:
    """``{label: probability}`` as a COCO score vector ``[80]``."""
    vector = np.full(len(COCO), 0.01, np.float32)
    for label, score in says.items():
        vector[COCO.index(label)] = score
    return vector


@dataclass
class Thing:
    """A box on a path of (time, x, y) of its centre; it exists from the first to the last of them.

    ``says`` is what the detector makes of it, constant or by time; ``blind`` are spans in which the detector misses it, a
    ``ghost`` is drawn nowhere, and what is ``unseen`` is drawn and never detected.
    """

    says: Says | str | Callable[[float], Says] = "person"
    path: tuple[tuple[float, float, float], ...] = ((0.0, 0.5, 0.5), (1e9, 0.5, 0.5))
    size: tuple[float, float] = (0.14, 0.4)
    grey: int = 230
    blind: tuple[tuple[float, float], ...] = ()
    ghost: bool = False
    unseen: bool = False
    hand: bool = False

    def box(self, time: float) -> Box | None:
        times = [point[0] for point in self.path]
        if not times[0] <= time < times[-1]:
            return None
        x, y = (float(np.interp(time, times, [point[axis] for point in self.path])) for axis in (1, 2))
        half_width, half_height = self.size[0] / 2, self.size[1] / 2
        box = Box(max(0.0, x - half_width), max(0.0, y - half_height), min(1.0, x + half_width), min(1.0, y + half_height))
        return box if box.width * box.height > 0.3 * self.size[0] * self.size[1] else None

    def seen(self, time: float) -> Box | None:
        hidden = self.unseen or any(start <= time < end for start, end in self.blind)
        return None if hidden else self.box(time)

    def scores(self, time: float) -> np.ndarray:
        says = self.says(time) if callable(self.says) else self.says
        return scores({says: 0.8} if isinstance(says, str) else says)


def texture(place: int) -> np.ndarray:
    """A place as a small grey picture ``[36, 64]`` of its own."""
    coarse = np.random.default_rng(place).uniform(30, 150, (6, 8)).astype(np.float32)
    return cv2.resize(coarse, (64, 36), interpolation=cv2.INTER_CUBIC)


def feature(place: int) -> np.ndarray:
    """The unit feature ``[1280]`` of a place; two places are at right angles, nearly."""
    vector = np.random.default_rng(1000 + place).normal(size=1280).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass
class Stage:
    """Things, later ones in front, in a place that may change at given times: ``places`` holds (time, place)."""

    things: list[Thing] = field(default_factory=list)
    places: tuple[tuple[float, int], ...] = ((0.0, 0),)
    gain: Callable[[float], float] = lambda time: 1.0
    noise: float = 0.0
    shake: float = 0.0
    signs: tuple[tuple[float, float, str], ...] = ()  # (from, to, text)

    def place(self, time: float) -> int:
        return next(place for start, place in reversed(self.places) if start <= time)

    def luma(self, time: float) -> np.ndarray:
        rng = np.random.default_rng((7, round(time * 1000)))
        canvas = texture(self.place(time)).copy()
        for thing in self.things:
            if not thing.ghost and (box := thing.box(time)):
                left, top, right, bottom = box.pixels(64, 36)
                canvas[top:bottom, left:right] = thing.grey
        if self.shake:
            dx, dy = rng.uniform(-self.shake, self.shake, 2)
            canvas = cv2.warpAffine(canvas, np.float32([[1, 0, dx], [0, 1, dy]]), (64, 36), borderMode=cv2.BORDER_REFLECT)
        return np.clip(canvas * self.gain(time) + rng.normal(0, self.noise, canvas.shape), 0, 255).astype(np.uint8)

    def percept(self, time: float, looks: Looks = EVERYTHING, index: int = 0) -> Percept:
        """What the encoders asked for report at ``time``."""
        seen = [(thing, box) for thing in self.things if (box := thing.seen(time))]
        detections = tuple(Detection(box, thing.scores(time)) for thing, box in seen if not thing.hand)
        hands = tuple(Hand(box, 0.9, 0.9) for thing, box in seen if thing.hand)
        lines = tuple(TextLine(text, 0.9, Box(0.4, 0.4, 0.6, 0.5)) for start, end, text in self.signs if start <= time < end)
        return Percept(
            source="stage",
            index=index,
            time=time,
            luma=self.luma(time),
            sha256=f"{index:064x}" if looks else "",
            feature=feature(self.place(time)) if looks.features else None,
            tags=np.full(1000, 1e-3, np.float32) if looks.features else None,
            detections=detections if looks.detect else None,
            hands=hands if looks.hands else None,
            text=lines if looks.text else None,
        )

    def play(self, until: float, fps: float = 10.0, looks: Looks = EVERYTHING, start: float = 0.0) -> Iterator[View]:
        """The views of a perception that looks when it wants to, as the watcher lets it."""
        perception = Perception(looks)
        for index in range(round((until - start) * fps)):
            time = start + index / fps
            _, wanted = perception.plan(self.luma(time), time)
            yield perception.update(self.percept(time, wanted, index))

    def changes(self, until: float, fps: float = 10.0) -> list[Change]:
        """What became certain about the objects, in order."""
        looks = Looks(detect=True, hands=True)
        return [change for view in self.play(until, fps, looks) for change in view.changes]


@pytest.fixture(scope="session")
def thing() -> type[Thing]:
    return Thing


@pytest.fixture(scope="session")
def stage() -> type[Stage]:
    return Stage
