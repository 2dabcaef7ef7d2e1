"""Where in its box a person is: an outline, from the mask that MediaPipe's pose network draws beside its points (BlazePose)."""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.encoders.litert_session import LiteRtSession
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.outline import CORNERS, Outline
from serval.refusal import Refusal
from serval.weights import locate, model_id

log = logging.getLogger(__name__)

_PART, _FILE = "mediapipe", "pose_landmark_full.tflite"
_PRESENCE, _MASK = 1, 2  # the network's outputs: its opinion that it was shown a person, and logits of the mask
_ROOM = 1.25  # side of the square that it is shown, in the box's longer side
_PRESENT = 0.5  # the opinion from which its mask can be trusted
_SURE = 0.75  # how sure it is of its mask, see `_surety`; below, it mistook shadows beside a person for one
_WITHIN = 0.8  # of the mask that lies in the box: where less does, it is of somebody else


class Outlines:
    """Draws around persons whose boxes are known. Loaded when first needed; where the part is missing nothing is drawn.

    Attributes:
        model: id of the part, once it was needed.
    """

    def __init__(self, threads: int = 1) -> None:
        self.model = ""
        self._threads, self._lock, self._missing = threads, Lock(), False
        self._session: LiteRtSession | None = None

    def around(self, frame: Frame, box: Box) -> Outline:
        """The outline of the person in a box; empty where the network sees none there."""
        with self._lock:
            session = self._open()
            if session is None:
                return ()
            size, rgb = session.size, frame.rgb
            there = _square(box, frame.width, frame.height, size)
            square = cv2.warpAffine(rgb, there, (size, size), flags=cv2.INTER_LINEAR)
            outputs = session.run(square.astype(np.float32) / 255)
            present, likely = float(outputs[_PRESENCE][0]), 1 / (1 + np.exp(-np.clip(outputs[_MASK][..., 0], -50, 50)))
        mask = likely > 0.5
        if not present >= _PRESENT or _surety(likely) < _SURE or _share(mask, box, there, frame) < _WITHIN:
            return ()
        back = cv2.invertAffineTransform(there)
        corners = ((_corners(mask) + 0.5) @ back[:, :2].T + back[:, 2]) / (frame.width, frame.height)
        return tuple((round(x, 4), round(y, 4)) for x, y in np.clip(corners, 0.0, 1.0).tolist())

    def _open(self) -> LiteRtSession | None:
        if self._session is None and not self._missing:
            try:
                self._session, self.model = LiteRtSession(locate(_PART, _FILE), self._threads), model_id(_PART)
            except Refusal as refusal:
                self._missing = True
                log.warning("outlines off: %s", refusal)
        return self._session


def _square(box: Box, width: int, height: int, size: int) -> NDArray[np.float64]:
    """``[2, 3]``: from the picture's pixels to those of the network's square, with the box in its middle."""
    x, y = box.center[0] * width, box.center[1] * height
    scale = size / (_ROOM * max(box.width * width, box.height * height, 1.0))
    return np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])


def _surety(likely: NDArray[np.floating[Any]]) -> float:
    """Mean distance from even odds, 0 to 1, over the pixels ``[size, size]`` that may be of the person."""
    maybe = likely[likely > 0.1]
    return float(2 * np.abs(maybe - 0.5).mean()) if len(maybe) else 0.0


def _share(mask: NDArray[np.bool_], box: Box, there: NDArray[np.float64], frame: Frame) -> float:
    """How much of the mask lies in the box, 0 to 1; 0 where there is no mask."""
    corners = np.array([box[:2], box[2:]]) * (frame.width, frame.height)
    (left, top), (right, bottom) = (corners @ there[:, :2].T + there[:, 2]).round().astype(int)
    return float(mask[max(0, top) : bottom, max(0, left) : right].sum() / max(1, mask.sum()))


def _corners(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The way round the largest piece of ``[size, size]``: corners ``[n, 2]``, in as few pixels of it as `CORNERS` allow."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    shape = whole = max(found, key=cv2.contourArea)
    slack = 0.75
    while len(shape) > CORNERS or shape is whole:
        shape, slack = cv2.approxPolyDP(whole, slack, True), 1.25 * slack
    return np.asarray(shape[:, 0], np.int32)
