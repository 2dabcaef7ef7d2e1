"""Asking at fixed intervals, whatever happens: what most assistants do, and the rival to beat."""

from __future__ import annotations

from math import inf

from serval.assistant.gates.gate import Score
from serval.assistant.view import View


class PollingGate:
    """Wakes every ``seconds``."""

    threshold = 0.5

    def __init__(self, seconds: float) -> None:
        self.name, self._seconds = f"poll:{seconds:g}", seconds

    def start(self) -> float:
        return -inf

    def step(self, state: float, view: View) -> tuple[float, Score]:
        if view.time - state < self._seconds - 1e-6:
            return state, Score(0.0, f"the next poll is due at {state + self._seconds:.1f} s")
        return view.time, Score(1.0, f"{self._seconds:g} s have passed", momentary=True)


class EveryNthGate:
    """Wakes at every ``count``-th frame."""

    threshold = 0.5

    def __init__(self, count: int) -> None:
        self.name, self._count = f"every:{count}", count

    def start(self) -> int:
        return 0

    def step(self, state: int, view: View) -> tuple[int, Score]:
        due = state % self._count == 0
        return state + 1, Score(1.0 if due else 0.0, f"frame {state} of every {self._count}", momentary=due)
