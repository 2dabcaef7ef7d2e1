"""The closer look at a keyframe: everything that may be said about a moment, as typed facts with their evidence.

The granularities are those of the slow path of LION-FS (arXiv 2503.03663): the whole frame (what the scene looks like, how
many of what), the grid (what is where), and the boxes of hands with the object nearest to each. Where LION-FS hands them to
a language model as tokens, here they are sentences with filled slots: code counts, places and times, and words come after.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from serval.assistant.answers.happened import SURFACES, happened
from serval.assistant.answers.looks_like import looks_like
from serval.assistant.answers.words import SEVERAL, place, quadrant
from serval.assistant.event import Evidence, Fact, FactKind
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.timeline.plain import one_line
from serval.assistant.view import Change, ChangeKind, View
from serval.encoders.labels import COCO, group_of, group_scores
from serval.encoders.percept import Detection, Percept
from serval.media.box import Box

SURE = 0.5  # score from which a single detection of the keyframe may be counted ...
NAMED = 0.6  # ... when the best of its kind has this one
READ = 0.5  # score from which a line of text is repeated at all
LINES = 8
LINE_LENGTH = 80


class Seen(NamedTuple):
    """One thing in view."""

    label: str
    box: Box
    score: float


def gather(
    view: View, because: tuple[Change, ...], frame_sha: str, percept: Percept, understanding: Understanding
) -> tuple[Fact, ...]:
    """Everything that may be said about a wake, most telling first; nothing that view and percept do not hold.

    Args:
        view: what was known when the watch woke; its tracks and scene.
        because: the changes the wake rests on, later ones that are told together included.
        frame_sha: the keyframe, the one ``percept`` saw.
        percept: the keyframe after the closer look.
        understanding: of the instruction; whether tags and text are wanted.
    """
    new_scene = any(change.kind is ChangeKind.SCENE for change in because)
    seen = in_view(view, percept, fresh=new_scene)
    if understanding.target is Target.OBJECTS and not because:  # a count is asked for: tell of what it counts
        groups = {group_of(label) for label in understanding.labels}
        seen = [each for each in seen if group_of(each.label) in groups] or seen
    look = _Look(view, frame_sha)
    changed = happened(because, view, frame_sha, [(each.label, each.box) for each in seen])
    told = {fact.subject for fact in changed if fact.kind in (FactKind.BEFORE, FactKind.AFTER, FactKind.CHANGE)}
    whole = understanding.target in (Target.SCENE, Target.LIKENESS) or not told - {""}
    facts = [
        *changed,
        *look.counts([each for each in seen if each.label not in told]),
        *look.places(seen),
        *look.text(percept, because, understanding),
        *look.touching(percept, seen),
        *(look.tags(percept, {each.label for each in seen}) if whole else ()),
    ]
    if understanding.target is Target.LIKENESS and not because:
        facts.append(Fact(kind=FactKind.SCENE, action="likeness", time=view.time, evidence=(look.evidence(),)))
    facts.append(Fact(kind=FactKind.TIME, time=view.time, evidence=(look.evidence(),)))
    return tuple(facts)


def in_view(view: View, percept: Percept, fresh: bool = False) -> list[Seen]:
    """The settled tracks; where there are none, or all of them belong to the scene before (``fresh``), the keyframe's own
    detections that are sure enough to be named."""
    seen = [] if fresh else [Seen(track.label, track.box, track.score) for track in view.tracks if track.settled]
    if not seen:
        for each in sorted((_name(each) for each in percept.detections or ()), key=lambda each: -each.score):
            if each.score >= SURE and all(each.box.iou(other.box) < 0.5 for other in seen):
                seen.append(each)
    labels = {each.label for each in seen}  # "two vehicles and a car" would be three vehicles
    seen = [each._replace(label=group) if (group := group_of(each.label)) in labels else each for each in seen]
    named = {each.label for each in seen if each.score >= NAMED}
    return [each for each in seen if each.label in named]


def _name(detection: Detection) -> Seen:
    """By what it was taught to be, else by its best class; by its group when only the classes of a group together are sure."""
    if detection.taught is not None:
        return Seen(detection.taught[0], detection.box, detection.taught[1])
    best = int(detection.scores.argmax())
    if detection.scores[best] >= SURE:
        return Seen(COCO[best], detection.box, float(detection.scores[best]))
    group, score = next(iter(group_scores(detection.scores).items()))
    return Seen(group, detection.box, score)


class _Look:
    """Makes facts of one keyframe."""

    def __init__(self, view: View, frame_sha: str) -> None:
        self.view, self.frame = view, frame_sha

    def evidence(self, box: Box | None = None, label: str = "", score: float = 0.0, text: str = "") -> Evidence:
        score = min(1.0, max(0.0, score))
        view = self.view
        return Evidence(time=view.time, frame=self.frame, source=view.source, box=box, label=label, score=score, text=text)

    def _all(self, kind: FactKind, seen: list[Seen], where: str = "") -> Fact:
        return Fact(
            kind=kind,
            subject=seen[0].label,
            count=len(seen),
            place=where,
            time=self.view.time,
            score=min(1.0, min(each.score for each in seen)),
            evidence=tuple(self.evidence(each.box, each.label, each.score) for each in seen),
        )

    def counts(self, seen: list[Seen]) -> list[Fact]:
        """How many of each are in view: the most sure first, people before things."""
        groups = _by_label(seen)
        order = sorted(groups, key=lambda label: (label != "person", -max(each.score for each in groups[label]), label))
        return [self._all(FactKind.COUNT, groups[label]) for label in order]

    def places(self, seen: list[Seen]) -> list[Fact]:
        """What is where: by ninths of the picture, many of a kind by quarters."""
        facts = []
        for group in _by_label(seen).values():
            zones: dict[str, list[Seen]] = {}
            for each in group:
                zones.setdefault((place if len(group) < SEVERAL else quadrant)(each.box), []).append(each)
            facts += [self._all(FactKind.PLACE, members, where) for where, members in zones.items()]
        return facts

    def text(self, percept: Percept, because: tuple[Change, ...], understanding: Understanding) -> list[Fact]:
        """Lines read, verbatim and on one line; new ones first, then those asked for, then the order of reading."""
        new = {one_line(change.text).casefold() for change in because if change.kind is ChangeKind.TEXT and change.text}
        lines: list[tuple[str, float, Box | None]] = [
            (one_line(line.text), line.score, line.box) for line in percept.text or () if line.score >= READ
        ]
        read = {text.casefold() for text, _, _ in lines}
        lines += [
            (one_line(change.text), change.score, change.box)
            for change in because
            if change.kind is ChangeKind.TEXT and change.text and one_line(change.text).casefold() not in read
        ]  # fmt: skip
        wanted = understanding.text.casefold()
        lines = [each for each in lines if each[0]]
        lines.sort(
            key=lambda each: (not _among(each[0], new), bool(wanted) and wanted not in each[0].casefold(), _reading(each[2]))
        )
        facts = []
        for text, score, box in lines[:LINES]:
            short = text if len(text) <= LINE_LENGTH else text[:LINE_LENGTH].rsplit(" ", 1)[0] + " …"
            facts.append(
                Fact(
                    kind=FactKind.TEXT,
                    action="text" if _among(text, new) else "",
                    place=place(box) if box else "",
                    text=short,
                    time=self.view.time,
                    score=min(1.0, score),
                    evidence=(self.evidence(box, "text", score, text),),
                )
            )
        return facts

    def touching(self, percept: Percept, seen: list[Seen]) -> list[Fact]:
        """Hands that lie over a thing: for each the nearest, and a surface only when nothing stands on it there."""
        facts: dict[str, Fact] = {}
        for hand in percept.hands or ():
            if hand.score < SURE or 0 < hand.present < SURE:
                continue
            under = [each for each in seen if each.label != "person" and hand.box.intersection(each.box) > 0]
            under = [each for each in under if each.label not in SURFACES] or [
                each for each in under if hand.box.inside(each.box) > 0.9
            ]
            if not under:
                continue
            x, y = hand.box.center
            near = min(under, key=lambda each: ((each.box.center[0] - x) ** 2 + (each.box.center[1] - y) ** 2, each.label))
            facts.setdefault(
                near.label,
                Fact(
                    kind=FactKind.TOUCHING,
                    subject="hand",
                    count=1,
                    object=near.label,
                    place=place(hand.box),
                    time=self.view.time,
                    score=min(1.0, hand.score, near.score),
                    evidence=(self.evidence(hand.box, "hand", hand.score), self.evidence(near.box, near.label, near.score)),
                ),
            )
        return list(facts.values())

    def tags(self, percept: Percept, known: set[str]) -> list[Fact]:
        """What the whole frame looks like, where that is sure."""
        if (found := looks_like(percept, known)) is None:
            return []
        name, score = found
        evidence = (self.evidence(None, name, score),)
        return [Fact(kind=FactKind.SCENE, subject=name, time=self.view.time, score=score, evidence=evidence)]


def _by_label(seen: list[Seen]) -> dict[str, list[Seen]]:
    groups: dict[str, list[Seen]] = {label: [] for label in Counter(each.label for each in seen)}
    for each in seen:
        groups[each.label].append(each)
    return groups


def _among(text: str, new: set[str]) -> bool:
    """Whether a line is one of the new ones, or a part of one (recognisers split lines now and then)."""
    text = text.casefold()
    return any(text == each or (len(text) > 2 and text in each) or (len(each) > 2 and each in text) for each in new)


def _reading(box: Box | None) -> tuple[float, float]:
    """Top to bottom in steps of a tenth of the picture, then left to right."""
    return (round(box.center[1], 1), box.left) if box else (2.0, 0.0)
