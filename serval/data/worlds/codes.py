"""Codes that features are made of: at right angles to one another, so that what a feature holds can be told exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hadamard(width: int) -> NDArray[np.float32]:
    """(width, width) of 1 and -1: rows of Sylvester's matrix, at right angles, each of length √width.

    No library of linear algebra takes part, so that they are the same numbers everywhere.

    Raises:
        ValueError: ``width`` is no power of two.
    """
    if width < 1 or width & (width - 1):
        raise ValueError(f"width: {width}, expected a power of two")
    made = np.ones((1, 1), np.float32)
    while len(made) < width:
        made = np.block([[made, made], [made, -made]])
    return made


def read(tokens: NDArray[np.float32], codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(…, width) tokens → (…, codes): how much of each code is in a token, 1 for once."""
    return tokens @ codes.T / codes.shape[1]
