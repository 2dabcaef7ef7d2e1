"""Object events: something of the kind asked for appears, leaves, moves, is put down or taken, or is so many."""

from __future__ import annotations

from serval.assistant.gates.gate import Score
from serval.assistant.instructions.instruction import Understanding
from serval.assistant.view import Change, ChangeKind, View
from serval.encoders.labels import COCO, COCO_GROUPS, group_of

_SHARE = 0.7  # what a change is worth whose surface or side could not be told
_KINDS = {*COCO, *COCO_GROUPS}
_PARTNERS = {ChangeKind.APPEARS: ChangeKind.PUT, ChangeKind.LEAVES: ChangeKind.TAKEN}  # put there is also: came there


class ObjectsGate:
    """Stateless: perception has already decided what is certain. With a count it is a level, otherwise momentary."""

    name = "objects"
    threshold = 0.35

    def __init__(self, understanding: Understanding) -> None:
        self._asked = understanding
        self._groups = frozenset(group_of(label) for label in understanding.labels)

    def start(self) -> None:
        return None

    def step(self, state: None, view: View) -> tuple[None, Score]:
        asked = self._asked
        if asked.count_op and not asked.kinds:
            return None, self._level(view)
        fitting = [(self._worth(change, view), change) for change in view.changes]
        because = tuple(change for worth, change in fitting if worth > 0)
        if because:
            best = max(worth for worth, _ in fitting)
            told = ", ".join(f"{change.label} {change.kind}" for change in because)
            return None, Score(round(best, 4), f"{told} ({best:.2f})", because, momentary=True)
        candidates = [track for track in view.tracks if not track.settled and self._fits(track.label, track.alternatives)]
        value = round(max((0.5 * track.score for track in candidates), default=0.0) * self.threshold, 4)
        what = f"a possible {candidates[0].label}" if candidates else f"no such change; {_in_view(view)}"
        return None, Score(value, what, standby=bool(candidates))

    def _worth(self, change: Change, view: View) -> float:
        asked = self._asked
        kinds = {*asked.kinds, *(_PARTNERS[kind] for kind in asked.kinds if kind in _PARTNERS)}
        if change.kind is ChangeKind.CROWD:
            wanted = ChangeKind.APPEARS if change.after > change.before else ChangeKind.LEAVES
            if wanted not in kinds:
                return 0.0
        elif change.kind not in kinds:
            return 0.0
        track = next((each for each in view.tracks if each.id == change.track), None)
        if not self._fits(change.label, track.alternatives if track else ()):
            return 0.0
        if change.on == "person" and not asked.labels:
            return 0.0  # what somebody wears came with them
        if asked.count_op and not _holds(change.after, asked.count_op, asked.count):
            return 0.0
        worth = max(change.score, 0.5)
        if asked.on and change.on != asked.on:
            worth = 0.0 if change.on else worth * _SHARE
        if asked.side and change.side != asked.side:
            worth = 0.0 if change.side else worth * _SHARE
        return worth

    def _fits(self, label: str, alternatives: tuple[tuple[str, float], ...]) -> bool:
        """The label asked for, or one that the detector takes it for."""
        if not self._asked.labels or label in self._asked.labels:
            return True
        group = group_of(label)
        if group not in self._groups and label in _KINDS:
            return False
        # a thing with a taught name is also what the detector takes it for
        return label == group in _KINDS or any(other in self._asked.labels and score >= 0.2 for other, score in alternatives)

    def _level(self, view: View) -> Score:
        asked = self._asked
        tracks = [track for track in view.tracks if track.settled and self._fits(track.label, track.alternatives)]
        holds = _holds(len(tracks), asked.count_op, asked.count)
        what = f"{len(tracks)} {asked.noun or 'objects'} in view"
        return Score(1.0 if holds else 0.0, what, standby=view.unresolved)


def _holds(count: int, sign: str, bound: int) -> bool:
    return {">=": count >= bound, "<=": count <= bound, "==": count == bound}[sign]


def _in_view(view: View) -> str:
    counts = view.counts()
    return (
        ", ".join(f"{count} {label}" for label, count in sorted(counts.items())) + " in view" if counts else "nothing in view"
    )
