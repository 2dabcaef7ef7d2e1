"""What is said in a scripted stream, and behind which frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IGNORED, SILENT, SPEAK = -100, 0, 1  # as `serval.training.objectives` has them


@dataclass(frozen=True)
class Said:
    """Words behind frame ``frame``, counted from 0. An answer stands behind the frame of its question, after it."""

    frame: int
    text: str
    role: Literal["user", "assistant"] = "assistant"


def decisions(frames: int, said: Iterable[Said]) -> NDArray[np.int64]:
    """(frames,) what is to be decided behind each frame.

    `SPEAK` where the assistant speaks unasked, `IGNORED` where somebody asks, for nobody can see that coming, and `SILENT`
    everywhere else.
    """
    made = np.full(frames, SILENT)
    asked = {each.frame for each in said if each.role == "user"}
    for each in said:
        made[each.frame] = IGNORED if each.frame in asked else SPEAK
    return made
