"""Hands, by MediaPipe's palm detector and hand landmarks (Zhang et al. 2020, "MediaPipe Hands")."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.encoders.litert_session import LiteRtSession
from serval.encoders.percept import Hand
from serval.encoders.ssd import Found, Letterbox, anchors, clipped, decode
from serval.weights import locate

_PALM, _LANDMARKS = "palm_detection_full.tflite", "hand_landmark_full.tflite"
_CENTERS = anchors(((24, 2), (12, 6)))
_WRIST, _KNUCKLE = 0, 2  # key points of the palm detector: the wrist, the middle finger's lowest joint
_CROP = 2.6  # side of the picture of the whole hand, in sides of the palm ...
_TOWARDS_FINGERS = 0.5  # ... whose centre lies this many sides from the palm's towards the fingers
ENTER = 0.5  # the score from which a candidate is a palm
PRESENT = 0.5  # the landmark model's opinion from which a palm is a hand
MOST = 6  # hands in one picture


class Hands:
    """Finds hands and their 21 points."""

    def __init__(self, palms: LiteRtSession, landmarks: LiteRtSession) -> None:
        self._palms, self._landmarks = palms, landmarks

    @classmethod
    def open(cls, threads: int = 1) -> Hands:
        """Load both networks.

        Raises:
            PartMissing: their files have not been fetched.
        """
        return cls(*(LiteRtSession(locate("mediapipe", file), threads) for file in (_PALM, _LANDMARKS)))

    def find(self, rgb: NDArray[np.uint8]) -> tuple[Hand, ...]:
        """Hands in ``[height, width, 3]`` uint8, best palm first, at most `MOST`.

        A palm that the second network does not take for a hand is left out: the first fires on wheels and faces, too.
        """
        square = Letterbox.of(rgb, self._palms.size)
        regressors, logits = self._palms.run(square.picture.astype(np.float32) / 255)
        hands: list[Hand] = []
        for palm in decode(regressors, logits, _CENTERS, self._palms.size, ENTER)[:MOST]:
            points, present = self._points(rgb, palm, square)
            corners = np.stack([points.min(0), points.max(0)])
            hand = Hand(clipped(corners), palm.score, present, points)
            known = any(hand.box.iou(other.box) > 0.5 for other in hands)
            if present >= PRESENT and hand.box.area > 0 and not known:
                hands.append(hand)
        return tuple(hands)

    def _points(self, rgb: NDArray[np.uint8], palm: Found, square: Letterbox) -> tuple[NDArray[np.float32], float]:
        """The hand's points ``[21, 2]`` in fractions of the picture, and how surely it is one."""
        height, width = rgb.shape[:2]
        extent = np.array([width, height], np.float32)
        corners = square.back(palm.box.reshape(2, 2)) * extent
        side = float((corners[1] - corners[0]).max())
        wrist, knuckle = square.back(palm.points[[_WRIST, _KNUCKLE]]) * extent
        up = (knuckle - wrist) / max(float(np.linalg.norm(knuckle - wrist)), 1e-6)
        across = np.array([-up[1], up[0]], np.float32)
        center = corners.mean(0) + up * side * _TOWARDS_FINGERS
        half, size = side * _CROP / 2, self._landmarks.size
        crop = np.array([center + half * (up - across), center + half * (up + across), center - half * (up + across)], np.float32)
        there = cv2.getAffineTransform(crop, np.array([[0, 0], [size, 0], [0, size]], np.float32))
        upright = cv2.warpAffine(rgb, there, (size, size), flags=cv2.INTER_LINEAR)
        landmarks, present, _, _ = self._landmarks.run(upright.astype(np.float32) / 255)
        points = landmarks.reshape(21, 3)[None, :, :2]
        pixels = cv2.transform(points, cv2.invertAffineTransform(there))[0]
        return (pixels / extent).astype(np.float32), float(present[0])
