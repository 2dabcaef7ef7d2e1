"""Visual novelty: another scene has begun."""

from __future__ import annotations

from serval.assistant.gates.gate import Score
from serval.assistant.view import ChangeKind, View


class NoveltyGate:
    """Stateless: `perception.scenes` keeps what the scene looked like."""

    name = "novelty"
    threshold = 0.5

    def start(self) -> None:
        return None

    def step(self, state: None, view: View) -> tuple[None, Score]:
        because = tuple(change for change in view.changes if change.kind is ChangeKind.SCENE)
        if because:
            return None, Score(1.0, f"scene {view.scene.id} begins", because, momentary=True)
        novelty = min(view.scene.novelty, 0.99) * 0.99
        return None, Score(round(novelty * self.threshold, 4), f"unlike the scene's start by {view.scene.novelty:.2f}")
