"""Boxes followed over time. A track's name is what its detections say together, never what one of them says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serval.assistant.perception.followed import PERSON, Followed, Taught, group_vector
from serval.encoders.percept import Detection
from serval.media.box import Box

_ENTER = 0.5  # strength at which a candidate is believed
_BIRTH = 0.25  # group score below which a detection starts no track of its own
_FOLLOW = 0.1  # ... and below which it does not even prolong one
_CLEAR = 0.35  # group score that at least one hit must reach
_SAME_PLACE = 0.55  # overlap at which two boxes are the same thing under two names
_SHRINKS, _GROWS = 0.2, 8.0  # by how much a box may change its area from look to look; what comes in grows fast
_PART = 0.55  # share of a box inside another of its kind that makes it a part, not a second one
_HITS = 2
_MOST = 60  # tracks and candidates at a time; the weakest go first

Sighting = tuple[Box, NDArray[np.float32], NDArray[np.float32], Taught]  # box, scores [80], group scores, taught name


class Tracker:
    """Matches detections to followed objects by overlap, nearness and class (Hungarian assignment)."""

    def __init__(self, first: int = 1) -> None:
        self.objects: list[Followed] = []
        self.next = first  # number of the next object; no number is given twice

    def step(self, detections: Sequence[Detection], now: float) -> None:
        """One look at ``now`` seconds: prolong what is seen again, start candidates, count misses."""
        seen = _without_parts([_sighting(each) for each in detections])
        pairs = self._match(seen, now)
        taken = {column for _, column in pairs}
        hit = {row for row, _ in pairs}
        for row, column in pairs:
            box, scores, groups, taught = seen[column]
            self.objects[row].hit(box, scores, groups, now, taught)
        for row, each in enumerate(self.objects):
            if row not in hit:
                each.missed += 1
            elif not each.confirmed and each.hits >= _HITS and each.best >= _CLEAR and each.strength(now) >= _ENTER:
                each.confirmed_at = now
        for column, (box, scores, groups, taught) in enumerate(seen):
            if column not in taken and groups.max() >= _BIRTH and not self._covered(box, int(groups.argmax())):
                born = Followed(
                    self.next, box, now, box, now, now, groups.copy(), scores.copy(), resting_box=box, still_since=now
                )
                born.recent.append((now, float(groups.max())))
                born.taught = dict([taught]) if taught is not None else {}
                self.next += 1
                self.objects.append(born)
        if len(self.objects) > _MOST:
            self.objects = sorted(self.objects, key=lambda each: (not each.confirmed, -each.strength(now)))[:_MOST]

    def _match(self, seen: list[Sighting], now: float) -> list[tuple[int, int]]:
        if not seen or not self.objects:
            return []
        gain = np.zeros((len(self.objects), len(seen)))
        for row, each in enumerate(self.objects):
            where = each.predicted(now)
            (x, y), size = where.center, max(each.box.width, each.box.height, 0.03)
            own = int(each.groups.argmax())
            for column, (box, _, groups, taught) in enumerate(seen):
                best = int(groups.argmax())
                known = taught is not None and taught[0] == each.known_as  # it is that very thing, whatever its class
                overlap = max(where.iou(box), each.box.iou(box))
                # A box is better than its label: the same place is the same thing, whatever it is called this time.
                # Not so with people, who walk in front of things.
                growth = box.area / max(each.box.area, 1e-6)
                if not _SHRINKS < growth < _GROWS:
                    continue
                renamed = overlap >= _SAME_PLACE and PERSON not in (own, best)
                if groups[own] < _FOLLOW and not renamed and not known:
                    continue
                (bx, by) = box.center
                (x0, y0) = each.box.center  # what moved may have stopped
                away = min(max(abs(bx - x), abs(by - y)), max(abs(bx - x0), abs(by - y0))) / size
                reach = 0.8 + 0.8 * min(now - each.seen, 1.0)
                same = best == own or known
                if overlap < 0.1 and (away > reach or not same):
                    continue
                gain[row, column] = overlap + 0.3 * max(0.0, 1.0 - away / reach) + 0.2 * same + 0.1 * each.confirmed
        rows, columns = linear_sum_assignment(-gain)
        return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if gain[row, column] > 0]

    def _covered(self, box: Box, group: int) -> bool:
        """Whether the detection is but another box around something that is followed already."""
        for each in self.objects:
            if int(each.groups.argmax()) == group and each.missed == 0:
                smaller, larger = sorted((box, each.box), key=lambda one: one.area)
                if smaller.inside(larger) > _PART:
                    return True
        return False

    def remove(self, gone: Followed) -> None:
        self.objects.remove(gone)


def _sighting(found: Detection) -> Sighting:
    """What was known again is as sure as that, however little the detector made of it."""
    groups = group_vector(found.scores)
    if found.taught is not None:
        best = int(groups.argmax())
        groups[best] = max(groups[best], found.taught[1])
    return found.box, found.scores, groups, found.taught


def _without_parts(seen: list[Sighting]) -> list[Sighting]:
    """Drop the box of a part (a torso) where the whole of the same kind (a person) is seen at least as well."""
    order = sorted(range(len(seen)), key=lambda each: -float(seen[each][2].max()))
    kept: list[int] = []
    for each in order:
        box, _, groups, _ = seen[each]
        if groups.max() < _FOLLOW:
            continue
        best = int(groups.argmax())
        part = any(
            int(seen[other][2].argmax()) == best and (box.inside(seen[other][0]) > 0.85 or seen[other][0].inside(box) > 0.9)
            for other in kept
        )
        if not part:
            kept.append(each)
    return [seen[each] for each in sorted(kept)]
