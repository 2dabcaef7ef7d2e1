"""Whatever changes: for instructions such as "tell me what happens"."""

from __future__ import annotations

from serval.assistant.gates.gate import Score
from serval.assistant.view import View


class EverythingGate:
    name = "everything"
    threshold = 0.35

    def start(self) -> None:
        return None

    def step(self, state: None, view: View) -> tuple[None, Score]:
        if view.changes:
            best = max(max(change.score, 0.5) for change in view.changes)
            told = ", ".join(f"{change.label} {change.kind}".strip() for change in view.changes)
            return None, Score(round(best, 4), told, view.changes, momentary=True)
        value = round(min(view.change, 0.99) * self.threshold, 4)
        return None, Score(value, f"pixels changed by {view.change:.2f}", standby=view.unresolved)
