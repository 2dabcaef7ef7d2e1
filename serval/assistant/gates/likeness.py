"""How much a frame resembles an instruction, without an image-text model.

ConSE (Norouzi et al., 2014, arXiv 1312.5650) in the form that ranked frames best here: the tag probabilities weigh how
similar each tag's name is to the instruction, Σ p(tag) · max(0, cos(tag, instruction) − 0.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serval.assistant.gates.gate import Score
from serval.assistant.view import View


class LikenessGate:
    """A level: the running mean of the last looks' likeness, so that one odd frame does not wake.

    Args:
        weights: ``[1000]`` the instruction's similarity to each ImageNet tag, see `encoders.conse`.
        smoothing: weight of the newest look.
    """

    name = "likeness"
    threshold = 0.5

    def __init__(self, weights: NDArray[np.float32], smoothing: float = 0.6) -> None:
        # A frame whose tags are all the best fitting ones scores 1; a single global scale is the least bad that is known.
        top = float(np.sort(weights)[-3:].mean())
        self._weights, self._smoothing = weights / max(top, 0.05), smoothing

    def start(self) -> float:
        return 0.0

    def step(self, state: float, view: View) -> tuple[float, Score]:
        if view.percept.tags is None:
            return state, Score(round(state, 4), "not looked at here")
        now = float(np.clip(view.percept.tags.astype(np.float32) @ self._weights, 0.0, 1.0))
        level = round(state + self._smoothing * (now - state), 6)
        return level, Score(round(level, 4), f"resembles the instruction by {level:.2f}")
