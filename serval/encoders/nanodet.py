"""Object detector: NanoDet-g, 80 COCO classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.encoders.onnx_session import open_session
from serval.encoders.percept import Detection
from serval.encoders.tfjs_graph import to_onnx
from serval.media.box import Box

SIDE: Final = 416  # pixels of the longer side, as trained
STRIDES: Final = (8, 16, 32)
BINS: Final = 11  # of each distance's distribution
_MEAN: Final = np.array([103.53, 116.28, 123.675], np.float32)  # of blue, green, red: the network was trained in BGR
_STD: Final = np.array([57.375, 57.12, 58.395], np.float32)
_CANDIDATES: Final = 300  # best cells that go into suppression; a crowd of 40 boxes needs about 200


class NanoDet:
    """Boxes with their whole score vectors.

    Source: RangiLyu, NanoDet (2020); boxes as distributions: Li et al., "Generalized Focal Loss" (2020).
    """

    def __init__(self, graph: Path, weights: Path, *, threads: int = 1) -> None:
        self._session = open_session(to_onnx(graph, weights), threads=threads)
        self._input = self._session.get_inputs()[0].name

    @classmethod
    def open(cls, threads: int = 1) -> NanoDet:
        """The installed detector.

        Raises:
            PartMissing: the part ``nanodet`` is not installed.
        """
        from serval.weights import locate

        return cls(locate("nanodet", "graph.json"), locate("nanodet", "model.safetensors"), threads=threads)

    def detect(
        self, rgb: NDArray[np.uint8], *, floor: float = 0.05, overlap: float = 0.6, most: int = 40
    ) -> tuple[Detection, ...]:
        """What may be in the picture ``rgb [height, width, 3]``, surest first.

        Args:
            floor: smallest best-class score of a box that is kept.
            overlap: IoU above which the weaker of two boxes is dropped, whatever their classes: from above a car is
                easily "a car" and "a cell phone" at once.
            most: largest number of boxes.
        """
        blob, fit = letterbox(rgb)
        outputs = self._session.run(None, {self._input: blob})
        scores, boxes = _decode(outputs, blob.shape[2:], floor)
        kept = _suppress(boxes, scores.max(1), overlap, most)
        found = []
        for index in kept:
            box = fit.on_picture(boxes[index])
            if box.area > 0:
                found.append(Detection(box, scores[index]))
        return tuple(found)


class Fit:
    """Where the picture lies on the network's canvas."""

    def __init__(self, left: int, top: int, width: int, height: int) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height

    def on_picture(self, canvas_box: NDArray[np.float32]) -> Box:
        """A box in canvas pixels as fractions of the picture, clipped to it."""
        x0, y0, x1, y1 = canvas_box.tolist()
        x0, x1 = (x0 - self.left) / self.width, (x1 - self.left) / self.width
        y0, y1 = (y0 - self.top) / self.height, (y1 - self.top) / self.height
        return Box(max(0.0, x0), max(0.0, y0), min(1.0, x1), min(1.0, y1))


def letterbox(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Fit]:
    """The network's input ``[1, 3, h, w]`` (normalised BGR) and where the picture lies on it.

    The picture keeps its proportions: squashed to a square, a person from behind scores under .2 instead of .8. The
    canvas is as small as the largest stride allows, since black bars cost as much to look at as the picture.
    """
    height, width = rgb.shape[:2]
    scale = SIDE / max(height, width)
    inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
    coarse = STRIDES[-1]
    canvas_w, canvas_h = -(-inner_w // coarse) * coarse, -(-inner_h // coarse) * coarse
    left, top = (canvas_w - inner_w) // 2, (canvas_h - inner_h) // 2
    small = cv2.resize(rgb, (inner_w, inner_h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((canvas_h, canvas_w, 3), np.float32)  # black bars, as in training
    canvas[top : top + inner_h, left : left + inner_w] = small[..., ::-1]
    canvas -= _MEAN
    canvas /= _STD
    return np.ascontiguousarray(canvas.transpose(2, 0, 1))[None], Fit(left, top, inner_w, inner_h)


def _decode(outputs: list[Any], canvas: tuple[int, ...], floor: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores ``[n, 80]`` and boxes ``[n, 4]`` (canvas pixels) of the cells whose best score reaches ``floor``.

    ``outputs`` are the class scores of the three strides, then the distances of the same three.
    """
    all_scores, all_boxes = [], []
    for stride, scores, distances in zip(STRIDES, outputs[:3], outputs[3:], strict=True):
        cells = np.flatnonzero(scores[0].max(1) >= floor)
        y, x = np.divmod(cells, canvas[1] // stride)
        center = (np.stack([x, y], 1).astype(np.float32) + 0.5) * stride
        logits = distances[0][cells].reshape(-1, 4, BINS)
        share = np.exp(logits - logits.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        reach = share @ np.arange(BINS, dtype=np.float32) * stride  # left, top, right, bottom of the cell's centre
        all_boxes.append(np.concatenate([center - reach[:, :2], center + reach[:, 2:]], 1))
        all_scores.append(scores[0][cells])
    return np.concatenate(all_scores), np.concatenate(all_boxes).astype(np.float32)


def _suppress(boxes: NDArray[np.float32], best: NDArray[np.float32], overlap: float, most: int) -> list[int]:
    """Indices of the boxes that survive, surest first: each drops the weaker ones that overlap it too much."""
    order = np.argsort(-best, kind="stable")[:_CANDIDATES]
    corners = boxes[order]
    area = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    alive, kept = np.ones(len(order), bool), []
    for rank in range(len(order)):
        if not alive[rank]:
            continue
        kept.append(int(order[rank]))
        if len(kept) == most:
            break
        shared = np.minimum(corners[:, 2:], corners[rank, 2:]) - np.maximum(corners[:, :2], corners[rank, :2])
        both = np.prod(np.maximum(shared, 0.0), axis=1)
        alive &= both <= overlap * (area + area[rank] - both)
    return kept
