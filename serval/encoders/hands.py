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
_CROP = 2.6  # side of the picture of the whole hand, in sides of the palm
_REACH = 1.8  # side of a hand whose points are unknown, in sides of the palm
_TOWARDS_FINGERS = 0.5  # their centre lies this many sides from the palm's towards the fingers
ENTER = 0.4  # the score from which a candidate may be a palm
AGREED = 0.75  # palm score plus the landmark model's opinion from which it is a hand: a hand that grips hides its fingers
PRESENT = 0.5  # the landmark model's opinion from which its points can be trusted
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

        Either network alone errs: the first fires on sleeves and faces, the second doubts hands that hold something.
        Points are None where the second doubts.
        """
        square = Letterbox.of(rgb, self._palms.size)
        regressors, logits = self._palms.run(square.picture.astype(np.float32) / 255.0)
        hands: list[Hand] = []
        for palm in decode(regressors, logits, _CENTERS, self._palms.size, ENTER)[:MOST]:
            crop = self._crop(rgb, palm, square)
            points, present = self._points(rgb, crop)
            sure = present >= PRESENT
            outline = points if sure else (crop - crop.mean(0)) / _CROP * _REACH + crop.mean(0)
            box = clipped(np.stack([outline.min(0), outline.max(0)]))
            known = any(box.iou(other.box) > 0.5 for other in hands)
            if palm.score + present >= AGREED and box.area > 0 and not known:
                hands.append(Hand(box, palm.score, present, points if sure else None))
        return tuple(hands)

    def _crop(self, rgb: NDArray[np.uint8], palm: Found, square: Letterbox) -> NDArray[np.float32]:
        """Corners ``[4, 2]`` of the picture of the hand, turned so that its fingers point up, in fractions of the picture.

        They go round from the fingers' left.
        """
        extent = np.array([rgb.shape[1], rgb.shape[0]], np.float32)
        corners = square.back(palm.box.reshape(2, 2)) * extent
        side = (corners[1] - corners[0]).max()
        wrist, knuckle = square.back(palm.points[[_WRIST, _KNUCKLE]]) * extent
        up = (knuckle - wrist) / max(float(np.linalg.norm(knuckle - wrist)), 1e-6)
        right = np.array([-up[1], up[0]], np.float32)
        center, half = corners.mean(0) + up * side * _TOWARDS_FINGERS, side * _CROP / 2
        turns = np.array([up - right, up + right, right - up, -up - right], np.float32)
        return (center + half * turns) / extent

    def _points(self, rgb: NDArray[np.uint8], crop: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """The hand's points ``[21, 2]`` in fractions of the picture, and how surely it is one."""
        extent, size = np.array([rgb.shape[1], rgb.shape[0]], np.float32), self._landmarks.size
        there = cv2.getAffineTransform(crop[:3] * extent, np.array([[0, 0], [size, 0], [size, size]], np.float32))
        upright = cv2.warpAffine(rgb, there, (size, size), flags=cv2.INTER_LINEAR)
        landmarks, present, _, _ = self._landmarks.run(upright.astype(np.float32) / 255.0)
        pixels = cv2.transform(landmarks.reshape(1, 21, 3)[..., :2], cv2.invertAffineTransform(there))[0]
        return (pixels / extent).astype(np.float32), float(present[0])
