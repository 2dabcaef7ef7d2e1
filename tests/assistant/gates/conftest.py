"""Views made by hand, and instructions as understood."""

import numpy as np
import pytest

from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import Change, ChangeKind, Scene, Track, View
from serval.encoders.percept import Percept, TextLine
from serval.media.box import Box

LUMA = np.zeros((36, 64), np.uint8)
BOX = Box(0.4, 0.4, 0.6, 0.6)


@pytest.fixture(scope="session")
def view():
    """A view at ``time``; everything else as given."""

    def make(time=0.0, *changes, tracks=(), change=0.0, unresolved=False, tags=None, text=None, novelty=0.0):
        lines = None if text is None else tuple(TextLine(each, 0.9, BOX) for each in text)
        percept = Percept("door", round(time * 10), time, LUMA, tags=tags, text=lines)
        return View(percept, change, tuple(tracks), tuple(changes), unresolved, Scene(1, 0.0, novelty=novelty))

    return make


@pytest.fixture(scope="session")
def happened():
    """A change, by its kind and label."""

    def make(kind, label="", **more):
        fields = {"time": 5.0, "started": 4.5, "score": 0.8, "box": BOX, **more}
        return Change(ChangeKind(kind), label=label, **fields)

    return make


@pytest.fixture(scope="session")
def track():
    def make(label, number=1, settled=True, score=0.8, others=()):
        return Track(number, label, score, BOX, 0.0, 5.0, settled, alternatives=tuple(others))

    return make


@pytest.fixture(scope="session")
def asks():
    """An understanding of the target, with what it asks for."""

    def make(target="objects", **fields):
        kinds = tuple(ChangeKind(kind) for kind in fields.pop("kinds", ()))
        return Understanding(target=Target(target), kinds=kinds, gate=str(target), read_back="I will.", **fields)

    return make
