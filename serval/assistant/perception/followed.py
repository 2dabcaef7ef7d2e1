"""One object while it is followed: its box, its evidence over time, and what of it has been told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from serval.assistant.view import Track
from serval.encoders.labels import COCO, COCO_GROUPS, group_of
from serval.media.box import Box

GROUPS = tuple(dict.fromkeys(group_of(label) for label in COCO))
_MEMBERS = tuple(np.array([COCO.index(label) for label in COCO_GROUPS.get(group, (group,))]) for group in GROUPS)
_IN_GROUPS = np.concatenate(_MEMBERS)  # classes ordered by group, and where each group begins
_GROUP_STARTS = np.cumsum([0, *(len(members) for members in _MEMBERS[:-1])])
PERSON = GROUPS.index("person")
AGREED = 0.4  # mean certainty over the last looks from which a taught name is a track's own
_FLOOR = 0.05  # class scores below this are noise, and ten of them would add up to something


def group_vector(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """``scores [80]`` → probability of each of `GROUPS`: noisy-or over the classes that are taken for one another."""
    heard = np.where(scores >= _FLOOR, scores, 0.0)[_IN_GROUPS].astype(np.float64)
    return (1.0 - np.multiply.reduceat(1.0 - heard, _GROUP_STARTS)).astype(np.float32)


Taught = tuple[str, float] | None  # as in `Detection`


@dataclass
class Followed:
    """A candidate or confirmed object. Times are seconds on the run's clock."""

    id: int
    box: Box
    first_seen: float
    first_box: Box
    seen: float  # last hit
    there: float  # last hit, or since then the last picture in which nothing had changed
    groups: NDArray[np.float32]  # [len(GROUPS)] running mean over hits
    classes: NDArray[np.float32]  # [80] running mean over hits
    taught: dict[str, float] = field(default_factory=dict)  # names that a person taught: running mean over hits
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=6))  # (time, group score) of hits
    velocity: tuple[float, float] = (0.0, 0.0)  # picture widths / heights a second
    hits: int = 1
    missed: int = 0  # looks without a hit since `seen`
    confirmed_at: float = inf
    settled: bool = False  # told, or there from the start
    resting_box: Box | None = None  # where it has been since `still_since`, within a quarter of its size
    still_since: float = inf
    widest: float = 0.0  # largest width and height so far, fractions of the picture
    tallest: float = 0.0
    best: float = 0.0  # largest group score of any hit
    touched: float = -inf  # when a hand was last at it
    touched_by: Box | None = None
    brought: bool = False  # it came while we watched, and has not stood by itself since
    told: bool = False  # as having come
    carried: bool = False  # told as taken
    stood: Box | None = None  # where it last stood by itself: still, and no hand at it

    @property
    def group(self) -> str:
        return self.known_as or GROUPS[int(self.groups.argmax())]

    @property
    def known_as(self) -> str:
        """The taught name that most looks agree on; "" when none does."""
        name = max(self.taught, key=lambda each: self.taught[each], default="")
        return name if name and self.taught[name] >= AGREED else ""

    @property
    def confirmed(self) -> bool:
        return self.confirmed_at < inf

    def strength(self, now: float, window: float = 1.5) -> float:
        """Noisy-or of the group scores of the hits in the last ``window`` seconds."""
        miss = 1.0
        for time, score in self.recent:
            if now - time <= window:
                miss *= 1.0 - score
        return 1.0 - miss

    def predicted(self, now: float) -> Box:
        """Where it should be ``now``, from its speed."""
        gap = min(now - self.seen, 1.0)
        dx, dy = self.velocity[0] * gap, self.velocity[1] * gap
        return Box(self.box.left + dx, self.box.top + dy, self.box.right + dx, self.box.bottom + dy)

    def hit(
        self, box: Box, scores: NDArray[np.float32], groups: NDArray[np.float32], now: float, taught: Taught = None
    ) -> None:
        """Take a detection as this object's."""
        gap = max(now - self.seen, 1e-3)
        (x, y), (x0, y0) = box.center, self.box.center
        blend = 0.6
        self.velocity = (
            blend * (x - x0) / gap + (1 - blend) * self.velocity[0],
            blend * (y - y0) / gap + (1 - blend) * self.velocity[1],
        )
        share = 1.0 / min(self.hits + 1, 5)  # a mean at first, then a memory of about five hits
        self.groups = self.groups + share * (groups - self.groups)
        self.classes = self.classes + share * (scores - self.classes)
        self.taught = {name: mean * (1 - share) for name, mean in self.taught.items() if mean > 0.01}
        if taught is not None:
            self.taught[taught[0]] = self.taught.get(taught[0], 0.0) + share * taught[1]
        moved = self.resting_box is None or _moved(self.resting_box, box) > 0.25
        if moved:
            self.resting_box, self.still_since = box, now
        self.box, self.seen, self.there, self.hits, self.missed = box, now, now, self.hits + 1, 0
        known = taught[1] if taught is not None and taught[0] == self.known_as else 0.0
        self.recent.append((now, max(float(groups[int(self.groups.argmax())]), known)))
        self.widest, self.tallest = max(self.widest, box.width), max(self.tallest, box.height)
        self.best = max(self.best, float(groups.max()))

    def become(self, found: Followed) -> None:
        """Go on as ``found``, which turned out to be this object seen again."""
        self.box, self.velocity, self.missed = found.box, found.velocity, found.missed
        self.seen, self.there = found.seen, found.there
        self.hits, self.best, self.taught = self.hits + found.hits, max(self.best, found.best), found.taught or self.taught
        self.recent.extend(found.recent)
        self.resting_box, self.still_since = found.resting_box, found.still_since
        if found.touched > self.touched:
            self.touched, self.touched_by = found.touched, found.touched_by

    def name(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """The best class if it clearly leads its group, else the group's own word; and the other classes, best first."""
        best_group = int(self.groups.argmax())
        members = _MEMBERS[best_group]
        scores = self.classes[members]
        order = np.argsort(-scores, kind="stable")
        leads = len(members) == 1 or scores[order[0]] > 1.5 * scores[order[1]]
        label = self.known_as or (COCO[members[order[0]]] if leads else GROUPS[best_group])
        ranked = np.argsort(-self.classes, kind="stable")[:4]
        others = tuple((COCO[each], round(float(self.classes[each]), 4)) for each in ranked if COCO[each] != label)
        return label, others

    def track(self, now: float) -> Track:
        label, others = self.name()
        return Track(
            id=self.id,
            label=label,
            score=round(self.strength(now), 4),
            box=self.box,
            first_seen=self.first_seen,
            last_seen=self.seen,
            settled=self.settled,
            speed=(round(self.velocity[0], 4), round(self.velocity[1], 4)),
            alternatives=others,
        )


def _moved(a: Box, b: Box) -> float:
    """How far ``b`` is from ``a``, in sizes of ``a``."""
    (x0, y0), (x1, y1) = a.center, b.center
    return max(abs(x1 - x0) / max(a.width, 0.02), abs(y1 - y0) / max(a.height, 0.02))
