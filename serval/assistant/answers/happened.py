"""Changes told as facts: what happened together to things of one kind is one fact with a count."""

from __future__ import annotations

from serval.assistant.answers.words import ALIVE, HEADINGS, RIDES, SIDES, place, plain
from serval.assistant.event import Evidence, Fact, FactKind
from serval.assistant.view import Change, ChangeKind, View
from serval.media.box import Box

HANDLED = (ChangeKind.PUT, ChangeKind.TAKEN)
SURFACES = frozenset(("dining table", "bed", "couch", "bench", "seat", "chair"))  # what things are put on and taken from
REACH = 1.15  # a person's box grown by this holds the hands that may be theirs


def happened(because: tuple[Change, ...], view: View, frame_sha: str, seen: list[tuple[str, Box]]) -> list[Fact]:
    """CHANGE facts in order of time, who did what with a hand, and how many there were before and are after.

    Args:
        seen: label and box of what is in view, to find whose hand it was.
    """
    changes = _distinct(because)
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        if change.kind is not ChangeKind.TEXT:
            groups.setdefault((change.kind, change.label, change.side, change.heading, _rest(change)), []).append(change)
    facts: list[Fact] = []
    for group in groups.values():
        facts.append(_change(group, view, frame_sha))
        facts += _agents(group, changes, view, frame_sha, seen)
    return facts + _before_and_after(changes, view, frame_sha)


def _distinct(because: tuple[Change, ...]) -> list[Change]:
    """Each change once, in order of time; what a stronger word already says (picked up, so it left) not again."""
    once = {(each.kind, each.label, each.track if each.track is not None else (each.time, each.box)): each for each in because}
    changes = sorted(once.values(), key=lambda each: (each.time, each.kind, each.label))
    stronger = {
        ChangeKind.APPEARS: (ChangeKind.PUT, ChangeKind.CROWD),
        ChangeKind.LEAVES: (ChangeKind.TAKEN, ChangeKind.CROWD),
        ChangeKind.MOVES: (ChangeKind.APPEARS, ChangeKind.LEAVES, ChangeKind.PUT, ChangeKind.TAKEN, ChangeKind.CROWD),
    }

    def said(change: Change) -> bool:
        return any(
            other.kind in stronger.get(change.kind, ())
            and other.label == change.label
            and (other.track == change.track or None in (other.track, change.track))
            for other in changes
        )

    return [each for each in changes if not said(each)]


def _change(group: list[Change], view: View, frame_sha: str) -> Fact:
    first, many = group[0], len(group)
    if first.kind is ChangeKind.CROWD:
        many = group[-1].after
    begins = first.kind is ChangeKind.SCENE and view.scene.id == 1  # nothing has changed yet
    return Fact(
        kind=FactKind.CHANGE,
        subject=first.label,
        count=many if first.label else None,
        action="first scene" if begins else str(first.kind),
        place=_where(group),
        object=_rest(first),
        time=group[-1].time,
        score=min(1.0, max(0.0, min(each.score for each in group))),
        evidence=tuple(_evidence(each, each.box, first.label, view, frame_sha) for each in group),
    )


def _where(group: list[Change]) -> str:
    """The most telling place all changes of the group share: a side of the picture, what it rests on, a ninth; or none."""
    first = group[0]
    if first.kind is ChangeKind.APPEARS and first.side in SIDES:
        return f"from {SIDES[first.side]}"
    if first.kind is ChangeKind.LEAVES:
        return f"to {SIDES[first.side]}" if first.side in SIDES else ""
    if first.kind is ChangeKind.MOVES and first.heading:
        return HEADINGS.get(first.heading, "")
    if first.kind in (ChangeKind.CROWD, ChangeKind.SCENE):
        return ""
    if rest := _rest(first):
        return f"{'from' if first.kind is ChangeKind.TAKEN else 'on'} the {plain(rest)}"
    zones = {place(each.box) for each in group if each.box}
    return zones.pop() if len(zones) == 1 and all(each.box for each in group) else ""


def _rest(change: Change) -> str:
    """What it rests on or rested on. Of what stands on its own feet or wheels, boxes cannot tell "on" from "in front of"."""
    still = change.label not in ALIVE | RIDES and change.side not in SIDES
    inside = change.kind in HANDLED or (change.kind is ChangeKind.APPEARS and still)
    return change.on if inside and change.on in SURFACES and change.on != change.label else ""


def _evidence(change: Change, box: Box | None, label: str, view: View, frame_sha: str) -> Evidence:
    """A change that settled after the keyframe is told with it but cannot be checked in it: its frame stays empty."""
    return Evidence(
        time=change.time,
        frame=frame_sha if abs(change.time - view.time) < 0.05 else "",
        source=view.source,
        box=box,
        label=label,
        score=min(1.0, max(0.0, change.score)),
    )


def _agents(group: list[Change], changes: list[Change], view: View, frame_sha: str, seen: list[tuple[str, Box]]) -> list[Fact]:
    """Who put down or took what: the person whose box holds the hand, or only the hand where none does."""
    first = group[0]
    if first.kind not in HANDLED or any(each.hand is None for each in group):
        return []
    people = {box for label, box in seen if label == "person"}
    people |= {each.box for each in changes if each.label == "person" and each.box and each.kind is not ChangeKind.LEAVES}
    owners: set[Box | None] = set()
    for hand in (each.hand for each in group if each.hand):
        owners.add(max(people, key=lambda box: (hand.inside(box.grow(REACH)), -box.area), default=None))
        if any(owner is None or hand.inside(owner.grow(REACH)) < 0.5 for owner in owners):
            owners = {None}
            break
    if len(owners) > 1:  # several people at once: told without saying who
        return []
    owner = owners.pop()
    evidence = [_evidence(each, each.hand, "hand", view, frame_sha) for each in group]
    if owner is not None:
        evidence.append(_evidence(group[-1], owner, "person", view, frame_sha))
    return [
        Fact(
            kind=FactKind.WHO,
            subject="hand" if owner is None else "person",
            count=1,
            action=str(first.kind),
            object=first.label,
            time=group[-1].time,
            score=min(1.0, max(0.0, min(each.score for each in group))),
            evidence=tuple(evidence),
        )
    ]


def _before_and_after(changes: list[Change], view: View, frame_sha: str) -> list[Fact]:
    """How many of each label were in view before the first and after the last change, where the changes know it."""
    facts = []
    counted = [each for each in changes if each.label and (each.before or each.after)]
    for label in dict.fromkeys(each.label for each in counted):
        mine = [each for each in counted if each.label == label]
        for kind, change, count in ((FactKind.BEFORE, mine[0], mine[0].before), (FactKind.AFTER, mine[-1], mine[-1].after)):
            evidence = (_evidence(change, change.box, label, view, frame_sha),)
            facts.append(
                Fact(kind=kind, subject=label, count=count, time=change.time, score=min(1.0, change.score), evidence=evidence)
            )
    return facts
