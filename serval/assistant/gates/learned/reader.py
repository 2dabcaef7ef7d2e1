"""What a learned gate reads of a moment: numbers that the watcher has already, set against the instruction.

Everything that depends on *which* thing is asked for is said relative to it: does this track fit, how near is its name to the
sentence. So what is learnt of dogs holds for zebras.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log1p
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serval.assistant.gates.fitting import Fitting
from serval.assistant.gates.gate import Gate, Score
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import ChangeKind, View
from serval.encoders.labels import COCO, COCO_GROUPS
from serval.encoders.percept import Detection

TICK: Final = 0.5  # seconds after which a moment is read though nobody looked: time itself may be news
SENTENCE: Final = 384  # width of MiniLM's embedding
_KINDS, _TARGETS = tuple(ChangeKind), tuple(Target)
INSTRUCTION: Final = SENTENCE + len(_KINDS) + len(_TARGETS) + 1
_TRACKS, _DETECTIONS, _TRACK, _DETECTION, _PLAIN = 3, 2, 14, 8, 25
FRAME: Final = _PLAIN + 2 * len(_KINDS) + _TRACKS * _TRACK + _DETECTIONS * _DETECTION
RULE: Final = slice(11, 16)  # where among `FRAME` numbers stands what the untaught gate found
FIRED: Final = 15  # the last of them: whether it has just spoken
_JUST = 1.0  # seconds
_FOLLOWS = 0.1  # of the newest look in the running mean of what the scene looks like

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What a reader remembers: of fixed size, however long it reads."""

    time: float = -inf  # of the last moment read
    feature: Vector | None = None  # (1280,) of the last look, of length 1
    usual: Vector | None = None  # (1280,) the running mean of such
    rule: Any = None
    fired: float = -inf  # when the untaught gate spoke last


class Reader:
    """Turns views into vectors for one instruction.

    Args:
        asked: what the grammar understood; one of target NOTHING leaves everything to the sentence.
        sentence: (384,) its embedding.
        relevance: (80,) how near the name of each class of `COCO` is to the sentence, see `relevance_of`.
        rule: the gate that needs no training, if there is one for it: what it finds is one more thing to go by.

    Attributes:
        fitting: what has to do with the instruction.
    """

    def __init__(self, asked: Understanding, sentence: Vector, relevance: Vector, rule: Gate | None) -> None:
        self._asked, self._relevance, self._rule = asked, relevance, rule
        self.fitting = Fitting(asked)
        self._classes = np.array([COCO.index(label) for label in asked.labels if label in COCO], np.int64)
        kinds = [float(kind in asked.kinds) for kind in _KINDS]
        targets = [float(target is asked.target) for target in _TARGETS]
        told = np.array([*kinds, *targets, float(bool(asked.labels))], np.float32)
        self.instruction: Vector = np.concatenate([sentence.astype(np.float32), told])

    def start(self) -> Reading:
        return Reading(rule=self._rule.start() if self._rule else None)

    def due(self, state: Reading, view: View) -> bool:
        """Whether this moment is to be read: somebody looked, or it is a while since the last one."""
        looked = view.percept.detections is not None or view.percept.feature is not None or view.percept.text is not None
        return looked or view.time - state.time >= TICK - 1e-6

    def read(self, state: Reading, view: View) -> tuple[Reading, Vector]:
        """The next state, and (`FRAME`,) numbers of this moment."""
        gap = min(view.time - state.time, 3.0)
        ruled, found = self._rule.step(state.rule, view) if self._rule else (None, Score(0.0))
        spoke = self._rule is not None and found.value >= self._rule.threshold
        state = replace(state, time=view.time, rule=ruled, fired=view.time if spoke else state.fired)
        jump, drift = 0.0, 0.0
        if view.percept.feature is not None:
            unit = view.percept.feature.astype(np.float32)
            unit /= max(float(np.linalg.norm(unit)), 1e-6)
            before, usual = (unit, unit) if state.feature is None or state.usual is None else (state.feature, state.usual)
            jump, drift = 1 - float(unit @ before), float(np.linalg.norm(unit - usual))
            state = replace(state, feature=unit, usual=usual + _FOLLOWS * (unit - usual))
        plain = self._plain(view, gap, found, view.time - state.fired <= _JUST, jump, drift)
        parts = (plain, self._happened(view), self._followed(view), self._seen(view))
        return state, np.concatenate(parts).astype(np.float32)

    def _plain(self, view: View, gap: float, rule: Score, fired: bool, jump: float, drift: float) -> Vector:
        percept = view.percept
        fit = [each for each in view.tracks if self.fitting.label(each.label, each.alternatives)]
        settled = [each for each in fit if each.settled]
        texts = [each for each in self.fitting.shown(view) if each.kind is ChangeKind.TEXT]
        hands = percept.hands or ()
        near = max((hand.box.intersection(each.box.grow(1.5)) for hand in hands for each in fit), default=0.0)
        reads = percept.text is not None and self._asked.target is Target.TEXT
        scene = view.scene
        return np.array(
            [
                gap, percept.detections is not None, percept.feature is not None, percept.hands is not None, reads,
                view.change, scene.novelty, view.unresolved, min(log1p(max(view.time - scene.started, 0.0)), 4.0) / 4,
                jump, drift,
                rule.value, rule.momentary, bool(rule.because), rule.standby, fired,
                len(texts) / 3, max((each.score for each in texts), default=0.0),
                len(hands) / 2, max((hand.score for hand in hands), default=0.0), float(near > 0),
                len(settled) / 4, (len(fit) - len(settled)) / 2, len(view.tracks) / 6,
                max((each.score for each in fit), default=0.0),
            ],
            np.float32,
        )  # fmt: skip

    def _happened(self, view: View) -> Vector:
        """Of each kind of change the best score, of what fits and of what does not."""
        best = np.zeros((2, len(_KINDS)), np.float32)
        for each in self.fitting.shown(view):
            row, column = int(not self.fitting.label(each.label)), _KINDS.index(each.kind)
            best[row, column] = max(best[row, column], each.score, 0.3)
        return best.ravel()

    def _followed(self, view: View) -> Vector:
        """The tracks that have most to do with it: those that fit, the newest of them first."""
        rows = np.zeros((_TRACKS, _TRACK), np.float32)
        fits = {each.id: self.fitting.label(each.label, each.alternatives) for each in view.tracks}
        order = sorted(view.tracks, key=lambda each: (-fits[each.id], each.settled, -self._near(each.label), -each.first_seen))
        for row, each in zip(rows, order, strict=False):
            (x, y), now = each.box.center, view.time
            row[:] = (
                1.0, fits[each.id], self._near(each.label), each.score, x, y, each.box.width, each.box.height, *each.speed,
                min(now - each.first_seen, 10.0) / 10, min(now - each.last_seen, 3.0), each.settled,
                min(each.box.left, 1 - each.box.right),
            )  # fmt: skip
        return rows.ravel()

    def _seen(self, view: View) -> Vector:
        """The boxes of this look that fit best, believed or not yet: the track will know later what they show already."""
        rows = np.zeros((_DETECTIONS, _DETECTION), np.float32)
        found = view.percept.detections or ()
        scores = [self._score(each) for each in found]
        for row, place in zip(rows, sorted(range(len(found)), key=lambda each: -scores[each]), strict=False):
            box, best = found[place].box, int(found[place].scores.argmax())
            known = max((box.iou(track.box) for track in view.tracks), default=0.0)
            named = (scores[place], found[place].scores[best], self._relevance[best])
            row[:] = (*named, *box.center, box.width, box.height, known)
        return rows.ravel()

    def _score(self, detection: Detection) -> float:
        return float(detection.scores[self._classes].max() if len(self._classes) else detection.scores.max())

    def _near(self, label: str) -> float:
        members = COCO_GROUPS.get(label, (label,))
        return max((float(self._relevance[COCO.index(each)]) for each in members if each in COCO), default=0.0)


def relevance_of(sentence: Vector, names: Vector) -> Vector:
    """How near each name is to the sentence, (80,) for ``names`` (80, 384): by how many standard deviations nearer than the
    others, a third each."""
    near = names @ sentence
    return ((near - near.mean()) / max(float(near.std()), 1e-6) / 3).astype(np.float32)
