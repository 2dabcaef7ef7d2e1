"""What MediaPipe's single-shot detectors share: the padded square picture, fixed anchors, and weighted suppression."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.media.box import Box


class Letterbox(NamedTuple):
    """A picture scaled into the middle of a square, and the way back.

    Attributes:
        picture: ``[size, size, 3]`` uint8, black where the picture does not reach.
        scale: square's width and height in those of the picture, ``(x, y)``; at least 1.
    """

    picture: NDArray[np.uint8]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], size: int) -> Letterbox:
        """Never squashed: a squashed person or palm is missed."""
        height, width = rgb.shape[:2]
        long = max(height, width)
        w, h = max(1, round(width * size / long)), max(1, round(height * size / long))
        smaller = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA if long > size else cv2.INTER_LINEAR)
        square = np.zeros((size, size, 3), np.uint8)
        left, top = (size - w) // 2, (size - h) // 2
        square[top : top + h, left : left + w] = smaller
        return cls(square, np.array([size / w, size / h], np.float32))

    def back(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points ``[..., 2]`` in fractions of the square to fractions of the picture."""
        return (points - 0.5) * self.scale + 0.5


class Found(NamedTuple):
    """One detection in fractions of the padded square."""

    box: NDArray[np.float32]  # [4] left, top, right, bottom
    points: NDArray[np.float32]  # [k, 2] the detector's key points
    score: float


def anchors(grids: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Centres ``[n, 2]`` (x, y as fractions) of (cells a side, anchors a cell) grids, row by row."""
    parts = []
    for cells, each in grids:
        y, x = np.mgrid[:cells, :cells].astype(np.float32)
        centers = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells
        parts.append(np.repeat(centers, each, 0))
    return np.concatenate(parts)


def decode(
    regressors: NDArray[np.float32],
    logits: NDArray[np.float32],
    centers: NDArray[np.float32],
    size: int,
    enter: float,
    overlap: float = 0.3,
) -> list[Found]:
    """Detections, best first, by weighted non-maximum suppression (Bazarevsky et al. 2019, "BlazeFace").

    Overlapping candidates are averaged with their scores as weights instead of thrown away, which keeps boxes of a
    video from trembling.

    Args:
        regressors: ``[n, 4 + 2k]``: centre offset, width, height, then k key point offsets, in pixels of the input.
        logits: ``[n, 1]``.
        centers: ``[n, 2]`` from `anchors`.
        size: side of the network's input in pixels.
        enter: lowest score of a candidate.
        overlap: intersection over union from which two candidates are the same thing.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -80, 80)))
    kept = np.flatnonzero(scores >= enter)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    scores, middle = scores[kept], regressors[kept, :2] / size + centers[kept]
    half = regressors[kept, 2:4] / size / 2
    boxes = np.concatenate([middle - half, middle + half], 1)
    points = regressors[kept, 4:].reshape(len(kept), (regressors.shape[1] - 4) // 2, 2) / size + centers[kept, None]
    found = []
    left = np.arange(len(kept))
    while len(left):
        same = _iou(boxes[left[0]], boxes[left]) > overlap
        same[0] = True
        group, best = left[same], left[0]
        weights = scores[group] / scores[group].sum()
        found.append(
            Found(
                (boxes[group] * weights[:, None]).sum(0),
                (points[group] * weights[:, None, None]).sum(0),
                float(scores[best]),
            )
        )
        left = left[~same]
    return found


def clipped(corners: NDArray[np.float32]) -> Box:
    """``[2, 2]`` left-top and right-bottom in fractions of the picture, as a box inside it."""
    left, top, right, bottom = np.clip(corners, 0.0, 1.0).ravel().tolist()
    return Box(left, top, right, bottom)


def _iou(one: NDArray[np.float32], many: NDArray[np.float32]) -> NDArray[np.float32]:
    shared = np.clip(np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2]), 0, None).prod(1)
    union = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(1) - shared
    return np.where(union > 0, shared / np.maximum(union, 1e-12), 0.0)
