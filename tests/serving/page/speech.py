"""What the microphone hears whenever it is opened: somebody asks a question."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serval.assistant.voice.voice import RATE, Voice
from serval.weights import PartMissing

__all__ = ["QUESTION", "RATE", "heard"]

QUESTION = "How many vehicles were there?"


def heard() -> NDArray[np.float32]:
    """A moment of quiet, the question, and quiet again, ``[samples]`` at `RATE`; without the optional voice a faint hiss."""
    quiet = np.random.default_rng(0).normal(0, 0.0005, RATE * 3 // 2).astype(np.float32)
    try:
        return np.concatenate([quiet[: RATE // 2], *Voice.open().speak(QUESTION), quiet])
    except PartMissing:
        return quiet
