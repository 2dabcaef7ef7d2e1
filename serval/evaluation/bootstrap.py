"""How sure a score is, by drawing the data anew from themselves (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A score and the bounds between which it lies with the confidence asked for; NaN where it is not defined."""

    value: float
    low: float
    high: float


def bootstrap(
    count: int,
    score: Callable[[NDArray[np.int64]], float],
    *,
    seed: int,
    rounds: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """The percentile interval of a score over ``count`` things that do not depend on each other: streams, not their frames.

    Args:
        score: from the numbers of the things drawn, (count,) with repetition, to the score; NaN where it is not defined, and
            such draws are left out.

    Raises:
        ValueError: there is nothing to draw from.
    """
    if count < 1:
        raise ValueError("count: 0, expected at least one thing to draw from")
    rng = np.random.default_rng(seed)
    drawn = np.array([score(rng.integers(count, size=count)) for _ in range(rounds)])
    drawn = drawn[~np.isnan(drawn)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, (tail, 100 - tail)) if len(drawn) else (np.nan, np.nan)
    return Interval(float(score(np.arange(count))), float(low), float(high))
