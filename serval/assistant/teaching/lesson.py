"""One lesson: pictures of a thing that somebody named, as the encoder of pictures sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEATURE: Final = 1280  # width of Lite0's feature
OTHERS: Final = 4  # regions of each picture that are not the thing

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Lesson:
    """``regions`` [n, 1280] are features of the thing, ``others`` [m, 1280] of what was beside it; each row of length 1."""

    name: str
    regions: Rows
    others: Rows
    shown: tuple[str, ...] = ()  # what the pictures were, for people


def make_lesson(name: str, regions: Sequence[Rows], others: Sequence[Rows], shown: Sequence[str]) -> Lesson:
    """A lesson in which the order of the pictures is of no account.

    Raises:
        ValueError: no picture, or a feature that is no vector of 1280 numbers of which one is not 0.
    """
    if not regions:
        raise ValueError("a lesson needs a picture")
    return Lesson(name, in_order(unit(np.stack(regions))), in_order(_stack(others)), tuple(sorted(shown)))


def unit(rows: Rows) -> Rows:
    """Rows of length 1."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=-1, keepdims=True)
    if rows.ndim != 2 or rows.shape[1] != FEATURE or not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise ValueError(f"expected rows of {FEATURE} finite numbers that are not all 0, got {rows.shape}")
    return (rows / lengths).astype(np.float32)


def in_order(rows: Rows) -> Rows:
    """The rows sorted by their numbers."""
    return np.ascontiguousarray(rows[np.lexsort(rows.T[::-1])]) if len(rows) else rows


def _stack(rows: Sequence[Rows]) -> Rows:
    return unit(np.stack(rows)) if len(rows) else np.zeros((0, FEATURE), np.float32)
