"""Eyes that know what they were taught: every look for objects is followed by a closer one at the likeliest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serval.assistant.teaching.recall import Recall
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame

MOST = 6  # regions of one look that are compared: each takes as long as a whole picture does
FLOOR = 0.15  # best score of a box that is worth it
SOMEBODY = 0.5  # score from which a box is a person, who is never named: this is no face recognition
_PERSON = COCO.index("person")


class Eyes(Protocol):
    """What is needed of `encoders.eyes.Eyes`."""

    models: dict[str, str]

    def look(self, frame: Frame, looks: Looks) -> Percept: ...

    def crop_features(self, frame: Frame, boxes: Sequence[Box]) -> list[NDArray[np.float32]]: ...


class TaughtEyes:
    """A `Looker` whose detections carry the names of what they are, as far as it was taught."""

    def __init__(self, eyes: Eyes, recall: Recall) -> None:
        self._eyes, self._recall = eyes, recall

    @property
    def models(self) -> dict[str, str]:
        return self._eyes.models

    def look(self, frame: Frame, looks: Looks) -> Percept:
        percept = self._eyes.look(frame, looks)
        if not self._recall or not percept.detections:
            return percept
        at = worth_naming(percept.detections)
        features = self._eyes.crop_features(frame, [percept.detections[place].box for place in at])
        named = list(percept.detections)
        for place, found in zip(at, self._recall.name(features), strict=False):
            if found is not None:
                named[place] = replace(named[place], taught=found)
        return replace(percept, detections=tuple(named))


def worth_naming(detections: Sequence[Detection]) -> list[int]:
    """Places of the boxes that may be things, surest first, at most `MOST`."""
    likely = [
        place
        for place, each in enumerate(detections)
        if each.scores.max() >= FLOOR and each.scores[_PERSON] < SOMEBODY and each.box.area > 0
    ]
    return sorted(likely, key=lambda place: -float(detections[place].scores.max()))[:MOST]
