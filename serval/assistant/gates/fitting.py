"""What of a view has to do with an instruction."""

from __future__ import annotations

from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import Change, ChangeKind, View
from serval.encoders.labels import group_of

_LIKELY = 0.2  # from which another label of a track is one that it may be


class Fitting:
    """Says which things and changes an instruction is about."""

    def __init__(self, asked: Understanding) -> None:
        self._asked = asked
        self._labels = frozenset(asked.labels)
        self._groups = frozenset(group_of(label) for label in asked.labels)

    def changes(self, view: View) -> tuple[Change, ...]:
        """The changes that are of a kind and thing asked for."""
        kinds = self._asked.kinds
        return tuple(each for each in self.shown(view) if (not kinds or each.kind in kinds) and self.label(each.label))

    def shown(self, view: View) -> tuple[Change, ...]:
        """What happened, as far as this instruction is shown it: texts only when it asks for them."""
        if self._asked.target is Target.TEXT:
            return view.changes
        return tuple(each for each in view.changes if each.kind is not ChangeKind.TEXT)

    def label(self, label: str, alternatives: tuple[tuple[str, float], ...] = ()) -> bool:
        """Whether a thing of this label, which may be one of the others, is asked for."""
        if not self._labels or label in self._labels:
            return True
        group = group_of(label)
        return group in self._groups and (
            label == group or any(other in self._labels and score >= _LIKELY for other, score in alternatives)
        )
