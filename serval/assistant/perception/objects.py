"""From followed boxes to things that happened: somebody comes in, a cup is put down, a car drives off.

A detector flickers; a scene does not. So an object that seems to come or go where no pixel changed did neither, one that
vanishes in mid-picture gets time to be found again, and nothing is told before it has stood for a moment.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from math import inf

from serval.assistant.perception.followed import Followed
from serval.assistant.perception.luma_history import LumaHistory, changed_within
from serval.assistant.perception.pixel_gate import Luma
from serval.assistant.perception.sides import arrival_side, departure_side, heading
from serval.assistant.perception.tracker import Tracker
from serval.assistant.view import Change, ChangeKind, Track
from serval.encoders.labels import group_of
from serval.encoders.percept import Detection, Hand
from serval.media.box import Box

STABLE = 0.3  # seconds an object must have been seen before it is told
BESIDE = 0.8  # ... and one beside another of its kind, which may be the other half of it behind a post
CLEAR = 0.45  # group score that one look must give what is told ...
CERTAIN = 0.9  # ... or what several looks must give together
LOST = 0.8  # seconds without a hit after which a candidate is given up
LOST_EDGE = 0.5  # ... after which one that was on its way out of the picture has left
LOST_INSIDE = 1.6  # ... one that vanished in mid-picture, where detectors blink
HIDDEN = 4.0  # ... one that something else stands in front of
SLOW = 3.0  # seconds from first sight to belief
NOT_NEWS = 2.0  # the first seconds of a stream tell what is there, not what comes
CROWD = 4  # more than so many of a kind are told as a number
SURE = 0.6  # strength a thing must have for what becomes of it to be told
SAME_PIXELS = 5.0  # grey levels below which a place looks as before
FREE = 0.5  # seconds without a hand at it after which a thing stands by itself
HAND_SPELL = 2.5  # seconds around a change within which a hand near by has to do with it
_SURFACES = frozenset("dining table|bench|chair|couch|bed|seat|refrigerator|oven|toilet|sink|book|laptop".split("|"))

_FIXTURES = _SURFACES - {"book", "laptop", "chair"} | {"traffic light", "fire hydrant", "parking meter", "stop sign"}


class Objects:
    """Everything remembered about the objects of one source. Its memory is bounded by the tracker's."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._luma = LumaHistory()
        self._last_hit_luma: dict[int, Luma] = {}
        self._stood_luma: dict[int, Luma] = {}
        self._hands: deque[tuple[float, Box]] = deque(maxlen=40)
        self._gone: deque[tuple[float, str, Box]] = deque(maxlen=20)  # lately told as gone
        self._crowd_told: Counter[str] = Counter()
        self._crowd_time: dict[str, float] = {}
        self._started = inf  # first look at this source
        self._cut_at = -inf
        self._before_cut: Counter[str] = Counter()

    # -- what the view shows --------------------------------------------------------------------------------------

    def tracks(self, now: float) -> tuple[Track, ...]:
        return tuple(each.track(now) for each in self._tracker.objects if each.confirmed)

    def unresolved(self, now: float) -> bool:
        """Whether something began that another look will decide."""
        return any(
            (not each.confirmed and each.missed == 0 and now - each.first_seen < SLOW)
            or (each.confirmed and not each.settled)
            or (each.settled and each.missed > 0 and now - each.there < LOST_INSIDE + 0.5)
            or (each.stood is not None and now - each.still_since < 1.0 and _apart(each.stood, each.box))  # has it moved?
            or now - each.touched < FREE + 0.25
            or (each.carried and not each.missed and now - each.touched < FREE + HAND_SPELL)  # it may be put down again
            for each in self._tracker.objects
        )

    # -- looks ----------------------------------------------------------------------------------------------------

    def remember(self, luma: Luma, time: float) -> None:
        """Keep a small grey picture, examined or not."""
        self._luma.add(luma, time)

    def unchanged(self, time: float) -> None:
        """A picture in which no pixel has changed since the last look: what was there is there."""
        for each in self._tracker.objects:
            if not each.missed:
                each.there = time

    def cut(self, time: float) -> None:
        """Another scene: what was followed is gone without having left."""
        self._before_cut = self._counts()
        self._tracker = Tracker(self._tracker.next)
        for state in (self._last_hit_luma, self._stood_luma, self._hands, self._crowd_told, self._gone):
            state.clear()
        self._luma.clear()
        self._cut_at = time

    def step(self, detections: tuple[Detection, ...], hands: tuple[Hand, ...] | None, luma: Luma, now: float) -> list[Change]:
        """One look at ``now`` seconds; what became certain with it."""
        self._started = min(self._started, now)
        self._tracker.step(detections, now)
        if hands is not None:
            self._hands.extend((now, hand.box) for hand in hands)
        for each in self._tracker.objects:
            if each.seen == now:
                self._last_hit_luma[each.id] = luma
        changes: list[Change] = []
        for each in list(self._tracker.objects):
            changes += self._arrive(each, luma, now)
            changes += self._depart(each, luma, now)
            changes += self._stand(each, hands, luma, now)
        alive = {each.id for each in self._tracker.objects}
        for pictures in (self._last_hit_luma, self._stood_luma):
            for gone in pictures.keys() - alive:
                del pictures[gone]
        return self._without_crowds(changes, now)

    def _arrive(self, each: Followed, luma: Luma, now: float) -> list[Change]:
        if each.settled or not each.confirmed or each.missed or now - each.first_seen < STABLE - 1e-6:
            return []
        twins = [other for other in self._tracker.objects if other.settled and _touching(each, other)]
        lost = [other for other in self._tracker.objects if self._is_lost_twin(other, each, luma)]
        if lost:
            max(lost, key=lambda other: other.seen).become(each)
            self._tracker.remove(each)
            return []
        if now - each.first_seen <= SLOW and (
            self._unclear(each, now) or any(_may_be_one(each, other, now) for other in twins)
        ):
            return []
        each.settled = True
        if each.name()[0] in _FIXTURES and each.first_seen - self._cut_at > 1.5:
            return []  # a bench does not walk in; the detector came to see it
        group, before = each.group, self._counts()[each.group] - 1
        after_cut = each.first_seen - self._cut_at <= 1.5
        if after_cut and self._before_cut[group] > 0:
            return []  # the scene is new, that there is one of these is not
        if not after_cut and (
            each.first_seen - self._started < NOT_NEWS or self._was_there(each, luma, now) or self._is_back(each)
        ):
            return []
        hand = self._hand_near(each.box, each.first_seen - HAND_SPELL, now) if group != "person" else None
        each.told = each.brought = True  # and once it stands by itself, it was put there
        side = "" if after_cut else arrival_side(each.first_box, each.velocity)
        return [self._change(ChangeKind.APPEARS, each, now, each.first_seen, before, before + 1, side=side, hand=hand)]

    def _depart(self, each: Followed, luma: Luma, now: float) -> list[Change]:
        if not each.missed:
            return []
        away = now - each.there
        if not each.settled:
            if each.missed >= 2 and away >= LOST - 1e-6:
                self._tracker.remove(each)
            return []
        side = departure_side(each.box, each.velocity)
        patience = LOST_EDGE if side else LOST_INSIDE
        if each.missed < 2 or away < patience - 1e-6:
            return []
        if self._looks_the_same(each, luma):
            return []  # the detector looked away, the thing did not
        if away < HIDDEN and self._hidden(each, now):
            return []
        before = self._counts()[each.group]
        self._tracker.remove(each)
        clear = each.strength(each.seen) >= SURE and not self._unclear(each, each.seen)
        if each.carried or each.name()[0] in _FIXTURES or not (each.told or clear):
            return []  # told when it was taken; or a thing that does not walk off, or may never have been there
        self._gone.append((now, each.group, each.box))
        takeable = each.stood is not None and each.group != "person"  # people's own hands are always near them
        hand = self._hand_near(each.box, each.there - HAND_SPELL / 2, each.there + LOST) if takeable else None
        kind = ChangeKind.LEAVES if hand is None else ChangeKind.TAKEN
        return [self._change(kind, each, now, each.there, before, before - 1, side=side, hand=hand)]

    def _stand(self, each: Followed, hands: tuple[Hand, ...] | None, luma: Luma, now: float) -> list[Change]:
        """What follows from where a thing stands by itself: it was put there, or it has moved, or nothing."""
        if each.group != "person" and hands:
            reach = each.box.grow(1.15)
            touching = [hand.box for hand in hands if hand.box.inside(reach) > 0.2 or reach.inside(hand.box) > 0.5]
            if touching and each.box.area < 0.35:
                each.touched, each.touched_by = now, touching[0]
        if each.stood is not None and not each.missed and each.settled and now - each.touched <= FREE and not each.carried:
            then = self._stood_luma.get(each.id)
            if _apart(each.stood, each.box) and then is not None and changed_within(each.stood, luma, then) >= SAME_PIXELS:
                each.carried, count = True, self._counts()[each.group]
                change = self._change(ChangeKind.TAKEN, each, now, each.touched, count, count - 1, hand=each.touched_by)
                return [replace(change, box_before=each.stood)]
        free = now - each.still_since >= 0.5 and now - each.touched >= FREE
        if not each.settled or each.missed or not free or not self._still(each.box, luma, now):
            return []
        if each.strength(now) < SURE or each.name()[0] in _FIXTURES:
            return []
        before, each.stood = each.stood, each.box
        then, self._stood_luma[each.id] = self._stood_luma.get(each.id), luma
        if before is not None and _apart(before, each.box) and then is not None:
            here, there = changed_within(each.box, luma, then), changed_within(before, luma, then)
            if min(here, there) < SAME_PIXELS:
                return []  # the box went elsewhere, the thing did not
        brought, each.brought, each.carried = each.brought, False, False
        handled = each.touched_by if now - each.touched <= FREE + HAND_SPELL else None
        count = self._counts()[each.group]
        if handled is not None and (brought or (before is not None and _apart(before, each.box))):
            change = self._change(ChangeKind.PUT, each, now, each.touched, count - brought, count, hand=handled)
        elif before is not None and _apart(before, each.box):
            way = heading(before, each.box)
            change = self._change(ChangeKind.MOVES, each, now, each.still_since, count, count, heading=way)
        else:
            return []
        return [replace(change, box_before=before)]

    # -- judgements -----------------------------------------------------------------------------------------------

    def _is_lost_twin(self, other: Followed, each: Followed, luma: Luma) -> bool:
        """Whether ``each`` is ``other``, lost a moment ago and found again: beside it, or carried off under another name."""
        if not (other.settled and other.missed and each.first_seen - other.there < LOST_INSIDE):
            return False
        if self._looks_the_same(other, luma):
            return False  # it is still where it was
        carried = (
            other.touched > other.seen - FREE and each.touched >= each.first_seen and "person" not in (each.group, other.group)
        )
        alike = 0.5 < (other.box.area + 1e-6) / (each.first_box.area + 1e-6) < 2.0
        return _beside(each, other) or (carried and alike and each.first_box.grow(2.2).intersection(other.box.grow(2.2)) > 0)

    def _was_there(self, each: Followed, luma: Luma, now: float) -> bool:
        if now - each.first_seen > SLOW:
            return True  # what takes so long to be believed did not come just now
        then = self._luma.at(each.first_seen - 0.7)
        return then is not None and changed_within(each.box, luma, then) < SAME_PIXELS

    def _looks_the_same(self, each: Followed, luma: Luma) -> bool:
        """Whether its place looks as when it was last detected."""
        last = self._last_hit_luma.get(each.id)
        return last is not None and changed_within(each.box, luma, last) < SAME_PIXELS

    def _unclear(self, each: Followed, now: float) -> bool:
        return each.best < CLEAR and each.strength(now) < CERTAIN

    def _still(self, box: Box, luma: Luma, now: float) -> bool:
        """Whether no pixel moves there: what a hand holds trembles, whatever the box says."""
        then = self._luma.at(now - 0.6)
        return then is None or changed_within(box, luma, then) < SAME_PIXELS

    def _is_back(self, each: Followed) -> bool:
        return any(
            each.first_seen - time < 2.0 and group == each.group and box.iou(each.first_box) > 0.3
            for time, group, box in self._gone
        )

    def _hidden(self, each: Followed, now: float) -> bool:
        where = each.predicted(now)
        return any(
            other is not each and other.confirmed and not other.missed and where.inside(other.box) > 0.5
            for other in self._tracker.objects
            if other.name()[0] not in _SURFACES
        )

    def _hand_near(self, box: Box, since: float, until: float) -> Box | None:
        reach = box.grow(1.6)
        near = [hand for time, hand in self._hands if since <= time <= until and reach.intersection(hand) > 0]
        return near[-1] if near else None

    def _counts(self) -> Counter[str]:
        return Counter(each.group for each in self._tracker.objects if each.settled)

    def _on(self, each: Followed, kind: ChangeKind) -> str:
        """The surface whose box holds the foot of the thing; or "person" for what somebody wears or carries."""
        x, y = each.box.center[0], each.box.bottom
        for other in self._tracker.objects:
            if other is each or not other.confirmed or other.box.area <= each.box.area:
                continue
            label, box = other.name()[0], other.box
            if (
                kind is ChangeKind.APPEARS
                and label == "person"
                and each.group != "person"
                and each.box.inside(box.grow(1.1)) > 0.6
            ):
                return label
            if label in _SURFACES and box.left <= x <= box.right and box.top <= y < box.bottom:
                return label
        return ""

    def _change(
        self,
        kind: ChangeKind,
        each: Followed,
        now: float,
        started: float,
        before: int,
        after: int,
        side: str = "",
        heading: str = "",
        hand: Box | None = None,
    ) -> Change:
        return Change(
            kind=kind,
            time=now,
            started=started,
            label=each.name()[0],
            score=round(max(each.strength(now), each.strength(each.seen)), 4),
            before=before,
            after=after,
            box=each.box,
            box_before=each.first_box,
            track=each.id,
            side=side,
            heading=heading,
            on=self._on(each, kind) if kind in (ChangeKind.PUT, ChangeKind.TAKEN, ChangeKind.APPEARS) else "",
            hand=hand,
        )

    def _without_crowds(self, changes: list[Change], now: float) -> list[Change]:
        """Where more than `CROWD` of a kind come and go, tell the sum, and only when it differs clearly."""
        counts, kept = self._counts(), []
        for change in changes:
            group = group_of(change.label)
            if change.kind in (ChangeKind.APPEARS, ChangeKind.LEAVES) and max(change.before, change.after) > CROWD:
                told = self._crowd_told.setdefault(group, CROWD)
                if abs(counts[group] - told) >= max(2, told // 2) and now - self._crowd_time.get(group, -inf) >= 2.0:
                    self._crowd_told[group], self._crowd_time[group] = counts[group], now
                    kept.append(replace(change, kind=ChangeKind.CROWD, before=told, after=counts[group], side="", track=None))
            else:
                kept.append(change)
        return kept


def _apart(before: Box, after: Box) -> bool:
    """Whether a thing stands somewhere else: by half its size, and by more than boxes tremble."""
    (x0, y0), (x1, y1) = before.center, after.center
    far = max(abs(x1 - x0), abs(y1 - y0))
    return far >= 0.06 and far >= 0.5 * min(max(before.width, before.height), max(after.width, after.height))


def _may_be_one(each: Followed, other: Followed, now: float) -> bool:
    """Whether two boxes may be the halves of one thing that passes behind a post; for a moment any two neighbours may."""
    if now - each.first_seen < BESIDE:
        return True
    both = each.box.union(other.box)
    return not other.missed and both.width <= 1.3 * other.widest and both.height <= 1.3 * other.tallest


def _touching(each: Followed, other: Followed) -> bool:
    """Whether two of a kind are, or were when the newer one was first seen, side by side."""
    reach = other.box.grow(1.6)
    near = each.box.grow(1.6).intersection(reach) > 0 or each.first_box.grow(1.6).intersection(reach) > 0
    return other is not each and other.group == each.group and near


def _beside(each: Followed, other: Followed) -> bool:
    """Whether one was first seen so near the other, and of such a size, that they may be one."""
    alike = 0.3 < (other.box.area + 1e-6) / (each.first_box.area + 1e-6) < 3.3
    return (
        other is not each
        and other.group == each.group
        and alike
        and each.first_box.grow(2.2).intersection(other.box.grow(2.2)) > 0
    )
