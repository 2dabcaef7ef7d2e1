"""What the small encoders saw in one frame. Everything the watcher decides, it decides from these."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serval.media.box import Box


@dataclass(frozen=True)
class Detection:
    """An object proposal. The whole score vector is kept: a box is often right while its best label is wrong."""

    box: Box
    scores: NDArray[np.float32]  # [80] probability of each COCO class, in the order of `encoders.labels.COCO`
    taught: tuple[str, float] | None = None  # the thing that a person taught, and how sure it is that this is it


@dataclass(frozen=True)
class Hand:
    """A hand, and where its joints are if they were looked for."""

    box: Box  # the palm, grown to the hand
    score: float  # palm detector
    present: float = 0.0  # landmark model's own opinion that this is a hand
    points: NDArray[np.float32] | None = None  # [21, 2] fractions of width and height


@dataclass(frozen=True)
class Face:
    """A face."""

    box: Box
    score: float


@dataclass(frozen=True)
class TextLine:
    """A line of written text."""

    text: str
    score: float
    box: Box


@dataclass(frozen=True)
class Looks:
    """Which encoders to run on a frame."""

    detect: bool = False
    features: bool = False
    hands: bool = False
    faces: bool = False
    text: bool = False

    def __bool__(self) -> bool:
        return self.detect or self.features or self.hands or self.faces or self.text


@dataclass(frozen=True)
class Percept:
    """One frame as the watcher knows it. ``None`` was not looked at; an empty tuple was, and nothing was there."""

    source: str
    index: int
    time: float
    luma: NDArray[np.uint8]  # [36, 64]
    sha256: str = ""  # of the frame; empty when nothing but the pixel gate looked
    width: int = 0
    height: int = 0
    feature: NDArray[np.float32] | None = None  # [1280] EfficientNet-lite0, pooled
    tags: NDArray[np.float32] | None = None  # [1000] ImageNet probabilities
    detections: tuple[Detection, ...] | None = None
    hands: tuple[Hand, ...] | None = None
    faces: tuple[Face, ...] | None = None
    text: tuple[TextLine, ...] | None = None
    cost: dict[str, float] = field(default_factory=dict, compare=False)  # seconds spent in each encoder
