"""Faces, by MediaPipe's full-range face detector (up to about five metres)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serval.encoders.litert_session import LiteRtSession
from serval.encoders.percept import Face
from serval.encoders.ssd import Letterbox, anchors, clipped, decode
from serval.weights import locate

_FILE = "face_detection_full_range_sparse.tflite"
_CENTERS = anchors(((48, 1),))
ENTER = 0.6  # the score from which a candidate is a face


class Faces:
    """Finds faces; knows nobody."""

    def __init__(self, session: LiteRtSession) -> None:
        self._session = session

    @classmethod
    def open(cls, threads: int = 1) -> Faces:
        """Load the detector.

        Raises:
            PartMissing: its file has not been fetched.
        """
        return cls(LiteRtSession(locate("mediapipe", _FILE), threads))

    def find(self, rgb: NDArray[np.uint8]) -> tuple[Face, ...]:
        """Faces in ``[height, width, 3]`` uint8, best first. A box reaches from brow to chin."""
        square = Letterbox.of(rgb, self._session.size)
        regressors, logits = self._session.run(square.picture.astype(np.float32) / 127.5 - 1)
        found = decode(regressors, logits, _CENTERS, self._session.size, ENTER)
        return tuple(Face(clipped(square.back(each.box.reshape(2, 2))), each.score) for each in found)
