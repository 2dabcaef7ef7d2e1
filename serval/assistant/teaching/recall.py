"""Knowing a taught thing again, and not taking everything for one.

A thing is the mean of its pictures' features, each of length 1 (a prototype: Snell et al. 2017, arXiv:1703.05175). A region is
the nearest thing if their cosine reaches its threshold; else it is unknown, whatever is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serval.assistant.answers.words import is_name
from serval.assistant.teaching.lesson import FEATURE, Lesson, Rows, in_order, unit
from serval.assistant.teaching.names import key

SURE: Final = 0.50  # cosine to a single picture at which one in two hundred other things is taken for it ...
GAIN: Final = 0.05  # ... and how much higher that lies for the mean of ten: it is nearer to everything of its kind
CLEAR: Final = 0.02  # by how much it must be nearer than what stood beside it in its own pictures
STRICTEST: Final = 0.8
_STEEP = 10.0  # from cosine to certainty


class Recall:
    """Taught things, ready to be compared with. Made once for a watch.

    Attributes:
        names: of the things, sorted.
        thresholds: the cosine that each asks for.
    """

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        things: dict[str, list[Lesson]] = {}
        for each in lessons:
            things.setdefault(key(each.name), []).append(each)
        self.names = tuple(things[each][0].name for each in sorted(things))
        self._prototypes = np.zeros((0, FEATURE), np.float32)
        self.thresholds: tuple[float, ...] = ()
        if things:
            given = [things[each] for each in sorted(things)]
            regions = [in_order(np.concatenate([lesson.regions for lesson in each])) for each in given]
            self._prototypes = unit(np.stack([rows.mean(0) for rows in regions]))
            beside = [np.concatenate([lesson.others for lesson in each]) for each in given]
            self.thresholds = tuple(map(_threshold, self._prototypes, map(len, regions), beside))

    def __bool__(self) -> bool:
        return bool(self.names)

    def cosines(self, features: Rows) -> NDArray[np.float32]:
        """How near each of ``features`` [n, 1280] is to each thing: [n, things]."""
        return unit(features) @ self._prototypes.T

    def name(self, features: Sequence[Rows]) -> list[tuple[str, float] | None]:
        """For each region the thing it is and how sure that is (0.5 to 1), or None.

        What has a name of its own is in a picture once: where two regions could be it, it is the one that is more alike.
        """
        if not self or not len(features):
            return [None] * len(features)
        cosines = self.cosines(np.stack(features))
        best = cosines.argmax(1)
        found: list[tuple[str, float] | None] = []
        for row, place in zip(cosines, best, strict=True):
            above = float(row[place]) - self.thresholds[place]
            found.append((self.names[place], round(1 / (1 + exp(-_STEEP * above)), 4)) if above >= 0 else None)
        for name in filter(is_name, self.names):
            mine = [place for place, each in enumerate(found) if each is not None and each[0] == name]
            for place in sorted(mine, key=lambda each: -float(cosines[each].max()))[1:]:
                found[place] = None
        return found


def _threshold(prototype: Rows, pictures: int, beside: Rows) -> float:
    usual = SURE + GAIN * min(1.0, log10(pictures))
    near = float((beside @ prototype).max()) + CLEAR if len(beside) else 0.0
    return round(min(max(usual, near), STRICTEST), 4)
