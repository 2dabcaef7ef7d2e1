"""Text in pictures: PP-OCR's detector and recogniser with their own before and after.

Sources: Liao et al. 2020, "Real-time Scene Text Detection with Differentiable Binarization"; Du et al. 2022, "SVTR";
Graves et al. 2006, "Connectionist Temporal Classification".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.encoders.onnx_session import open_session
from serval.encoders.percept import TextLine
from serval.media.box import Box
from serval.weights import locate

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of the detector's input, whose channels are blue, green, red:
_STD = np.array([0.229, 0.224, 0.225], np.float32)  # with -1..1 instead it reads flat print, but no blurred sign
_COARSE = 32  # the detector's coarsest stride: its input is a multiple of it
_INK = 0.3  # probability from which a pixel of the detector's map is text
_SURE = 0.5  # mean probability from which a blob is a line
_GROW = 1.3  # the map shows lines shrunk: a blob grows by this times its area over its outline. More loses spaces
_HEIGHT = 48  # of the recogniser's input
_LONGEST = 40  # width of the recogniser's input in heights: about 100 letters
_SMALLEST = 3  # pixels of the detector's map; less is a speck


class Slant(NamedTuple):
    """A line of text as a rotated rectangle, in pixels.

    Attributes:
        corners: ``[4, 2]``, round from the first letter's top.
        score: of the detector.
    """

    corners: NDArray[np.float32]
    score: float


class TextReader:
    """Reads printed lines; says nothing rather than something doubtful.

    What it reads is data from the picture and never an instruction to anybody.
    """

    def __init__(self, detector: Any, recogniser: Any) -> None:
        self._detector, self._recogniser = detector, recogniser
        letters = recogniser.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._letters = ["", *letters, " "]  # CTC's blank comes first, the space last

    @classmethod
    def open(cls, threads: int = 1) -> TextReader:
        """Load both networks.

        Raises:
            PartMissing: their files have not been fetched.
        """
        return cls(*(open_session(locate("rapidocr", file), threads=threads) for file in ("det.onnx", "rec.onnx")))

    def read(
        self, rgb: NDArray[np.uint8], box: Box | None = None, *, longest: int = 960, score: float = 0.8, most: int = 30
    ) -> tuple[TextLine, ...]:
        """Lines in reading order, in boxes of the whole picture.

        Args:
            rgb: ``[height, width, 3]`` uint8.
            box: read only in there.
            longest: side in pixels to which the detector sees the picture reduced; smaller pictures are enlarged, up to
                twice, since small lettering is missed.
            score: least mean probability of a line's letters. Photos give garbled words at about .6.
            most: lines read, the largest first.
        """
        height, width = rgb.shape[:2]
        left, top, right, bottom = box.pixels(width, height) if box else (0, 0, width, height)
        part = rgb[top:bottom, left:right]
        slants = sorted(self.find(part, longest), key=lambda each: -_sides(each.corners).min())[:most]
        lines = []
        for slant in slants:
            words, sure = max(map(self.recognise, _upright(part, slant.corners)), key=lambda read: read[1])
            words = _tidy(words)
            if sure >= score and sum(map(str.isalnum, words)) >= 2:
                corners = (slant.corners + np.array([left, top])) / np.array([width, height])
                near, far = np.clip([corners.min(0), corners.max(0)], 0.0, 1.0).tolist()
                lines.append(TextLine(words, sure, Box(*near, *far)))
        return tuple(_reading_order(lines))

    def find(self, rgb: NDArray[np.uint8], longest: int = 960) -> list[Slant]:
        """Where lines of text may be, in pixels of ``rgb``.

        A line that runs out of the picture at the left or right is left out: half a word is another word.
        """
        height, width = rgb.shape[:2]
        scale = min(longest / max(height, width), 2.0)
        w, h = (max(_COARSE, round(side * scale / _COARSE) * _COARSE) for side in (width, height))
        seen = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        (found,) = self._detector.run(None, {"x": _input((seen[..., ::-1] / np.float32(255.0) - _MEAN) / _STD)})
        ink: NDArray[np.float32] = found[0, 0]
        blobs = cv2.dilate((ink > _INK).astype(np.uint8), np.ones((2, 2), np.uint8))
        outlines, _ = cv2.findContours(blobs, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        slants = []
        for outline in outlines:
            center, size, angle = cv2.minAreaRect(outline)
            if min(size) < _SMALLEST:
                continue
            score = _mean_inside(ink, cv2.boxPoints((center, size, angle)))
            if score < _SURE:
                continue
            grow = size[0] * size[1] * _GROW / (size[0] + size[1])  # twice area over outline: both sides of it
            corners = cv2.boxPoints((center, (size[0] + grow, size[1] + grow), angle))
            if corners[:, 0].min() < 0 or corners[:, 0].max() > w:
                continue
            slants.append(Slant(_from_first_letter(corners * (width / w, height / h)), score))
        return slants

    def recognise(self, rgb: NDArray[np.uint8]) -> tuple[str, float]:
        """The text of one upright line ``[height, width, 3]`` and the mean probability of its letters."""
        height, width = rgb.shape[:2]
        wide = int(np.clip(round(width * _HEIGHT / height), _HEIGHT // 2, _HEIGHT * _LONGEST))
        line = cv2.resize(rgb, (wide, _HEIGHT), interpolation=cv2.INTER_AREA if height > _HEIGHT else cv2.INTER_CUBIC)
        (steps,) = self._recogniser.run(None, {"x": _input(line[..., ::-1] / np.float32(127.5) - np.float32(1.0))})
        best, sure = steps[0].argmax(1), steps[0].max(1)
        new = (best != 0) & (np.diff(best, prepend=0) != 0)
        return "".join(self._letters[k] for k in best[new]), float(sure[new].mean()) if new.any() else 0.0


def _input(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[height, width, 3]`` as the networks' ``[1, 3, height, width]``."""
    return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)[None]


def _mean_inside(ink: NDArray[np.float32], corners: NDArray[np.float32]) -> float:
    """Mean of the map inside a rotated rectangle."""
    height, width = ink.shape
    near = np.clip(np.floor(corners.min(0)).astype(int), 0, (width - 1, height - 1))
    far = np.clip(np.ceil(corners.max(0)).astype(int), near, (width - 1, height - 1)) + 1
    part = ink[near[1] : far[1], near[0] : far[0]]
    mask = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(corners - near).astype(np.int32)], 1)
    return float(cv2.mean(part, mask)[0])


def _from_first_letter(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners ``[4, 2]`` clockwise from the top left of a rectangle that leans by at most an eighth of a turn."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (side[np.argsort(side[:, 1], kind="stable")] for side in (by_x[:2], by_x[2:]))
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def _sides(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Width and height of a rotated rectangle."""
    return np.array([np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[3] - corners[0])], np.float32)


def _upright(rgb: NDArray[np.uint8], corners: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """The line cut out and turned level; one that stands on end may read downwards or upwards."""
    width, height = (max(1, round(float(side))) for side in _sides(corners))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    there = cv2.getPerspectiveTransform(corners, target)
    line = cv2.warpPerspective(rgb, there, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return [np.ascontiguousarray(np.rot90(line, turns)) for turns in (1, -1)] if height >= 1.5 * width else [line]


def _tidy(words: str) -> str:
    """Without what no terminal should print, double spaces, and marks that stand alone at the ends."""
    parts = "".join(letter if letter.isprintable() else " " for letter in words).split()
    while parts and not any(map(str.isalnum, parts[0])):
        parts.pop(0)
    while parts and not any(map(str.isalnum, parts[-1])):
        parts.pop()
    return " ".join(parts)


def _reading_order(lines: list[TextLine]) -> list[TextLine]:
    """Row by row; lines whose heights overlap by more than half stand in one row, read from the left."""
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda each: each.box.center[1]):
        row = rows[-1] if rows else []
        shared = min(line.box.bottom, row[0].box.bottom) - max(line.box.top, row[0].box.top) if row else 0.0
        if row and shared > 0.5 * min(line.box.height, row[0].box.height):
            row.append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda each: each.box.left)]
