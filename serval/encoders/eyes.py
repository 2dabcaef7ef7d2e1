"""The live encoders behind the watcher: each loaded when first needed, and missed without ado where its part is missing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serval.encoders.outlines import Outlines
from serval.encoders.percept import Detection, Face, Hand, Looks, Percept, TextLine
from serval.media.box import Box
from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.weights import locate, model_id

log = logging.getLogger(__name__)

Seen = TypeVar("Seen")
PARTS = {"objects": "nanodet", "tags": "lite0", "hands": "mediapipe", "faces": "mediapipe", "text": "rapidocr"}


def available() -> Looks:
    """What could be seen with the parts on this machine."""

    def here(ability: str) -> bool:
        try:
            locate(PARTS[ability])
        except Refusal:
            return False
        return True

    return Looks(detect=here("objects"), features=here("tags"), hands=here("hands"), faces=here("faces"), text=here("text"))


@dataclass
class Encoder:
    """One ability: how it is opened, and the lock that lets one thread at a time use it."""

    open: Callable[[int], Any]
    lock: Lock = field(default_factory=Lock)
    loaded: Any = None


class Eyes:
    """Looks at frames with the encoders that were asked for.

    Two threads may look at once: the event loop, and the desk that answers. What is returned is rounded to what a
    recording keeps (scores and features to float16, boxes to float32) before anybody decides from it, so a replay
    decides from the same numbers bit for bit.

    Attributes:
        models: ability ("objects", "tags", "hands", "faces", "text") -> id of the part that gives it.
        off: ability -> why it is off, with the remedy.
        outlines: draws around persons; nothing is decided from that, so it is no ability.
    """

    def __init__(self, encoders: dict[str, Encoder], looks: Looks, threads: int = 1) -> None:
        self._encoders, self._threads = encoders, threads
        self.models: dict[str, str] = {}
        self.off: dict[str, str] = {}
        self._pixels, self._register = Lock(), Lock()
        self.outlines = Outlines(threads)
        for ability, asked in _asked(looks).items():
            if asked:
                self._account(ability)

    @classmethod
    def open(cls, looks: Looks, threads: int = 1) -> Eyes:
        """Eyes for what ``looks`` asks. Nothing is loaded yet, but `off` already says which parts are missing.

        Args:
            threads: of each encoder.
        """
        return cls(
            {
                "objects": Encoder(_nanodet),
                "tags": Encoder(_lite0),
                "hands": Encoder(_hands),
                "faces": Encoder(_faces),
                "text": Encoder(_text),
            },
            looks,
            threads,
        )

    def warm(self, looks: Looks) -> None:
        """Load these encoders now, so that the first frame does not wait."""
        for ability, asked in _asked(looks).items():
            if asked:
                self._use(ability, lambda encoder: None)

    def look(self, frame: Frame, looks: Looks) -> Percept:
        """What the frame shows, as far as ``looks`` asks. The fields of an ability that is off stay None."""
        cost: dict[str, float] = {}
        with self._pixels:  # a frame's converter serves one thread at a time
            luma, rgb = frame.luma, frame.rgb if looks else None
            sha256 = frame.sha256 if looks else ""
        asked = _asked(looks)

        def see(ability: str, work: Callable[[Any], Seen]) -> Seen | None:
            return self._use(ability, work, cost) if asked[ability] else None

        detections = see("objects", lambda detector: detector.detect(rgb))
        tagged = see("tags", lambda tagger: tagger.look(rgb))
        hands = see("hands", lambda finder: finder.find(rgb))
        faces = see("faces", lambda finder: finder.find(rgb))
        text = see("text", lambda reader: reader.read(rgb, longest=min(960, max(frame.width, frame.height))))
        return Percept(
            source=frame.source,
            index=frame.index,
            time=frame.time,
            luma=luma,
            sha256=sha256 if cost else "",
            width=frame.width,
            height=frame.height,
            feature=None if tagged is None else _half(tagged[0]),
            tags=None if tagged is None else _half(tagged[1]),
            detections=None
            if detections is None
            else tuple(Detection(_box(each.box), _half(each.scores)) for each in detections),
            hands=None if hands is None else tuple(map(_hand, hands)),
            faces=None if faces is None else tuple(Face(_box(each.box), _single(each.score)) for each in faces),
            text=None if text is None else tuple(TextLine(each.text, _single(each.score), _box(each.box)) for each in text),
            cost=cost,
        )

    def crop_tags(self, frame: Frame, boxes: Sequence[Box]) -> list[NDArray[np.float32]]:
        """Tags ``[1000]`` of each box's surroundings, to name a thing more exactly than the detector can.

        Each crop is the box made square, since the tagger sees the middle square of what it is given. Empty when the
        tagger is off.
        """
        return [tags for _, tags in self._look_closer(frame, boxes)]

    def crop_features(self, frame: Frame, boxes: Sequence[Box]) -> list[NDArray[np.float32]]:
        """Feature ``[1280]`` of each box's surroundings, cut out as for `crop_tags`."""
        return [feature for feature, _ in self._look_closer(frame, boxes)]

    def _look_closer(self, frame: Frame, boxes: Sequence[Box]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        if not boxes:
            return []
        with self._pixels:
            rgb = frame.rgb
        crops = [_square(rgb, box) for box in boxes]

        def look(tagger: Any) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
            return [(_half(feature), _half(tags)) for feature, tags in map(tagger.look, crops)]

        return self._use("tags", look) or []

    def _use(self, ability: str, work: Callable[[Any], Seen], cost: dict[str, float] | None = None) -> Seen | None:
        """Run ``work`` with the encoder, loading it first; None when it is off."""
        encoder = self._encoders[ability]
        with encoder.lock:
            if ability not in self.models and ability not in self.off:
                self._account(ability)
            if ability in self.off:
                return None
            if encoder.loaded is None:
                try:
                    encoder.loaded = encoder.open(self._threads)
                except Refusal as refusal:
                    self._switch_off(ability, refusal)
                    return None
            began = time.perf_counter()
            seen = work(encoder.loaded)
            if cost is not None:
                cost[ability] = time.perf_counter() - began
            return seen

    def _account(self, ability: str) -> None:
        """Name the part behind an ability, or say why it is off."""
        part = PARTS[ability]
        try:
            locate(part)
        except Refusal as refusal:
            self._switch_off(ability, refusal)
        else:
            with self._register:
                self.models = {**self.models, ability: model_id(part)}  # a new one: others may be reading the old

    def _switch_off(self, ability: str, refusal: Refusal) -> None:
        with self._register:
            self.off = {**self.off, ability: str(refusal)}
            self.models = {name: model for name, model in self.models.items() if name != ability}
        log.warning("%s off: %s", ability, refusal)


def abilities(looks: Looks) -> list[str]:
    """The names of what ``looks`` asks for."""
    return [ability for ability, asked in _asked(looks).items() if asked]


def _asked(looks: Looks) -> dict[str, bool]:
    return {
        "objects": looks.detect,
        "tags": looks.features,
        "hands": looks.hands,
        "faces": looks.faces,
        "text": looks.text,
    }


# Imported when opened: the runtimes behind them take a while, and most watches need two of the five.
def _nanodet(threads: int) -> Any:
    from serval.encoders.nanodet import NanoDet

    return NanoDet.open(threads)


def _lite0(threads: int) -> Any:
    from serval.encoders.lite0 import Lite0

    return Lite0.open(threads)


def _hands(threads: int) -> Any:
    from serval.encoders.hands import Hands

    return Hands.open(threads)


def _faces(threads: int) -> Any:
    from serval.encoders.faces import Faces

    return Faces.open(threads)


def _text(threads: int) -> Any:
    from serval.encoders.text import TextReader

    return TextReader.open(threads)


def _half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    limit = np.finfo(np.float16).max
    return np.clip(values, -limit, limit).astype(np.float16).astype(np.float32)


def _single(value: float) -> float:
    return float(np.float32(value))


def _box(box: Box) -> Box:
    return Box(*map(_single, box))


def _hand(hand: Hand) -> Hand:
    points = None if hand.points is None else np.ascontiguousarray(hand.points, np.float32)
    return Hand(_box(hand.box), _single(hand.score), _single(hand.present), points)


def _square(rgb: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The square about a box that holds it; near an edge it moves inwards, and is no larger than the picture."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = box.pixels(width, height)
    side = max(right - left, bottom - top)
    x = max(0, min((left + right - side) // 2, width - side))
    y = max(0, min((top + bottom - side) // 2, height - side))
    return rgb[y : y + side, x : x + side]
