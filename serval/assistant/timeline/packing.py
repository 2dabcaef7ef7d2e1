"""Percepts to bytes and back, without pickle, so that a replay decides from the very numbers the run decided from."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from serval.encoders.percept import Detection, Face, Hand, Percept, TextLine
from serval.media.box import Box

_LIMIT = 32 << 20  # bytes a packed percept may unfold to; real ones take some tens of kilobytes


def pack(percept: Percept) -> bytes:
    """Compressed safetensors. Score vectors and features are rounded to float16, boxes and points to float32."""
    arrays: dict[str, NDArray[Any]] = {"luma": np.ascontiguousarray(percept.luma)}
    words: dict[str, Any] = {
        "source": percept.source,
        "index": percept.index,
        "time": float(percept.time),
        "sha256": percept.sha256,
        "size": [percept.width, percept.height],
        "cost": {name: float(seconds) for name, seconds in percept.cost.items()},
    }
    if percept.feature is not None:
        arrays["feature"] = _half(percept.feature)
    if percept.tags is not None:
        arrays["tags"] = _half(percept.tags)
    if percept.detections is not None:
        arrays["detections.box"] = _boxes([each.box for each in percept.detections])
        arrays["detections.scores"] = _half(_stack([each.scores for each in percept.detections]))
        if any(each.taught for each in percept.detections):
            words["taught"] = [each.taught for each in percept.detections]
    if percept.hands is not None:
        arrays["hands.box"] = _boxes([each.box for each in percept.hands])
        arrays["hands.score"] = np.array([(each.score, each.present) for each in percept.hands], np.float32).reshape(-1, 2)
        arrays["hands.points"] = _single(_stack([each.points for each in percept.hands if each.points is not None]))
        words["pointing"] = [each.points is not None for each in percept.hands]
    if percept.faces is not None:
        arrays["faces.box"] = _boxes([each.box for each in percept.faces])
        arrays["faces.score"] = np.array([each.score for each in percept.faces], np.float32)
    if percept.text is not None:
        arrays["text.box"] = _boxes([each.box for each in percept.text])
        arrays["text.score"] = np.array([each.score for each in percept.text], np.float32)
        words["text"] = [each.text for each in percept.text]
    arrays["words"] = np.frombuffer(json.dumps(words).encode(), np.uint8)
    return zlib.compress(save(arrays), 6)


def unpack(data: bytes) -> Percept:
    """The percept that `pack` put in.

    Raises:
        ValueError: the bytes are damaged, or unfold to more than they ever should.
    """
    try:
        unfolder = zlib.decompressobj()
        plain = unfolder.decompress(data, _LIMIT)
        if not unfolder.eof:
            raise ValueError("a packed percept is cut off or too large")
        arrays = load(plain)
        words = json.loads(arrays["words"].tobytes())
        detections = hands = faces = text = None
        if "detections.box" in arrays:
            scores = arrays["detections.scores"].astype(np.float32)
            taught = [each and (str(each[0]), float(each[1])) for each in words.get("taught", [None] * len(scores))]
            detections = tuple(map(Detection, _unboxed(arrays["detections.box"]), scores, taught))
        if "hands.box" in arrays:
            points = iter(arrays["hands.points"])
            shown = [next(points) if pointing else None for pointing in words["pointing"]]
            marks = arrays["hands.score"].tolist()
            parts = zip(_unboxed(arrays["hands.box"]), marks, shown, strict=True)
            hands = tuple(Hand(box, score, present, each) for box, (score, present), each in parts)
        if "faces.box" in arrays:
            faces = tuple(map(Face, _unboxed(arrays["faces.box"]), arrays["faces.score"].tolist()))
        if "text.box" in arrays:
            text = tuple(map(TextLine, words["text"], arrays["text.score"].tolist(), _unboxed(arrays["text.box"])))
        return Percept(
            source=words["source"],
            index=words["index"],
            time=words["time"],
            luma=arrays["luma"],
            sha256=words["sha256"],
            width=words["size"][0],
            height=words["size"][1],
            feature=arrays["feature"].astype(np.float32) if "feature" in arrays else None,
            tags=arrays["tags"].astype(np.float32) if "tags" in arrays else None,
            detections=detections,
            hands=hands,
            faces=faces,
            text=text,
            cost=words["cost"],
        )
    except (zlib.error, SafetensorError, KeyError, IndexError, TypeError, StopIteration, UnicodeDecodeError):
        raise ValueError("a packed percept is damaged") from None


def quantize(percept: Percept) -> Percept:
    """What is left of a percept after it was recorded. The live run decides from this too, hence equals its replay."""
    return unpack(pack(percept))


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    limit = np.finfo(np.float16).max
    return np.clip(values, -limit, limit).astype(np.float16)


def _single(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)


def _stack(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _boxes(boxes: list[Box]) -> NDArray[np.float32]:
    return np.array(boxes, np.float32).reshape(-1, 4)


def _unboxed(boxes: NDArray[np.float32]) -> list[Box]:
    return [Box(*box) for box in boxes.tolist()]
