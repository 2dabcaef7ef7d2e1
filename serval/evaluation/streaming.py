"""Scores for an assistant that speaks by itself: did it speak when something happened, how late, and how often for nothing?

Trigger accuracy is not among them: whoever stays silent always scores high on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2


@dataclass(frozen=True)
class Moment:
    """Something that happened, or something that was said, at ``time`` seconds. Only equal ``what`` can match."""

    time: float
    what: str = ""


@dataclass(frozen=True)
class TriggerScore:
    """Counts over one or more stretches of video; scores add up with ``+``.

    Attributes:
        hits: things that happened and were said once within the tolerance.
        missed: things that happened and were not said.
        duplicates: utterances about something that another utterance had hit.
        false: utterances about nothing that happened.
        delays: seconds from the moment to the word for each hit, negative when it was early.
        seconds: of video.
    """

    hits: int = 0
    missed: int = 0
    duplicates: int = 0
    false: int = 0
    delays: tuple[float, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: TriggerScore) -> TriggerScore:
        return TriggerScore(
            self.hits + other.hits,
            self.missed + other.missed,
            self.duplicates + other.duplicates,
            self.false + other.false,
            self.delays + other.delays,
            self.seconds + other.seconds,
        )

    @property
    def precision(self) -> float:
        """Share of utterances that hit something new; duplicates count against it. 1 when nothing was said."""
        said = self.hits + self.duplicates + self.false
        return self.hits / said if said else 1.0

    @property
    def recall(self) -> float:
        """Share of things that happened and were said. 1 when nothing happened."""
        happened = self.hits + self.missed
        return self.hits / happened if happened else 1.0

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def median_delay(self) -> float:
        """Seconds; NaN without hits."""
        return float(np.median(self.delays)) if self.delays else float("nan")

    def false_per_hour(self, confidence: float = 0.95) -> tuple[float, float, float]:
        """False alarms an hour of video with their exact Poisson interval (Garwood, 1936): rate, lower, upper."""
        return poisson_rate(self.false, self.seconds / 3600.0, confidence)


def poisson_rate(count: int, hours: float, confidence: float = 0.95) -> tuple[float, float, float]:
    """``count`` events in ``hours``: rate an hour, and the bounds of its exact confidence interval."""
    if hours <= 0:
        raise ValueError("the rate of events in no time is not known")
    tail = (1.0 - confidence) / 2
    lower = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    upper = float(chi2.ppf(1.0 - tail, 2 * count + 2)) / 2
    return count / hours, lower / hours, upper / hours


def score_triggers(happened: Sequence[Moment], said: Sequence[Moment], *, tolerance: float, seconds: float) -> TriggerScore:
    """Match utterances to what happened, one to one, within ``tolerance`` seconds either way.

    The matching hits as many as possible and, among those, has the smallest delays in sum. What is left over is a duplicate
    when it lies within the tolerance of something that was hit, and false otherwise.
    """
    if not happened or not said:
        return TriggerScore(missed=len(happened), false=len(said), seconds=seconds)
    gap = np.array([[abs(each.time - moment.time) for each in said] for moment in happened])
    fits = np.array([[each.what == moment.what for each in said] for moment in happened]) & (gap <= tolerance + 1e-9)
    # A pair that does not fit costs more than all that do together, so that no hit is given up for a smaller delay.
    cost = np.where(fits, gap, 10.0 * (tolerance + 1.0) * (len(happened) + len(said)))
    rows, columns = linear_sum_assignment(cost)
    pairs = [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if fits[row, column]]
    taken, hit = {column for _, column in pairs}, {row for row, _ in pairs}
    rest = [column for column in range(len(said)) if column not in taken]
    duplicates = sum(any(fits[row, column] for row in hit) for column in rest)
    delays = tuple(round(said[column].time - happened[row].time, 6) for row, column in pairs)
    return TriggerScore(len(pairs), len(happened) - len(pairs), duplicates, len(rest) - duplicates, delays, seconds)
