"""Moments made by hand: views, changes and percepts with just what a test is about."""

from types import SimpleNamespace

import numpy as np
import pytest

from serval.assistant.answers.gather import gather
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import Change, ChangeKind, Scene, Track, View
from serval.encoders.labels import COCO, IMAGENET
from serval.encoders.percept import Detection, Hand, Percept, TextLine
from serval.media.box import Box

LEFT, MIDDLE, RIGHT = Box(0.05, 0.2, 0.25, 0.9), Box(0.4, 0.2, 0.6, 0.9), Box(0.75, 0.2, 0.95, 0.9)
TOP_LEFT, TABLE = Box(0.02, 0.02, 0.2, 0.12), Box(0.3, 0.55, 0.9, 0.95)


def track(number, label, box, settled=True):
    return Track(number, label, 0.9, box, 0.0, 5.0, settled)


def detection(label, box, score=0.8, **others):
    scores = np.zeros(80, np.float32)
    for name, value in {label: score, **others}.items():
        scores[COCO.index(name)] = value
    return Detection(box, scores)


def change(kind, label="", time=5.0, **slots):
    return Change(ChangeKind(kind), time, time - 0.5, label, **{"score": 0.8, **slots})


def understanding(target=Target.OBJECTS, **slots):
    return Understanding(target=target, gate="objects", read_back="", **slots)


def percept(tags=None, **seen):
    probabilities = None
    if tags is not None:
        probabilities = np.zeros(1000, np.float32)
        for name, value in tags.items():
            probabilities[IMAGENET.index(name)] = value
    return Percept("door", 10, 5.0, np.zeros((36, 64), np.uint8), sha256="abc", tags=probabilities, **seen)


def moment(*changes, tracks=(), target=Target.OBJECTS, tags=None, text="", lines=None, scene=2, **seen):
    """The facts of a wake."""
    glance = percept(tags, text=lines, **seen)
    view = View(glance, 0.2, tuple(tracks), tuple(changes), scene=Scene(scene, 0.0))
    return gather(view, tuple(changes), "abc", glance, understanding(target, text=text))


def line(text, box=TOP_LEFT, score=0.95):
    return TextLine(text, score, box)


def hand(box, score=0.9, present=0.9):
    return Hand(box, score, present)


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(
        track=track, detection=detection, change=change, moment=moment, line=line, hand=hand, percept=percept,
        understanding=understanding, left=LEFT, middle=MIDDLE, right=RIGHT, top_left=TOP_LEFT, table=TABLE,
    )  # fmt: skip
