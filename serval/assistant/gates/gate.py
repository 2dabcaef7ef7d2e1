"""The gate protocol: a pure, causal function from what is known now to how much this moment matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from serval.assistant.view import Change, View


@dataclass(frozen=True)
class Score:
    """How much this moment matters, 0 to 1, and because of what."""

    value: float
    why: str = ""  # plain words, shown by `serval why`
    because: tuple[Change, ...] = ()  # the changes that the score rests on
    standby: bool = False  # something is under way but not settled
    momentary: bool = False  # it happened now: each one counts by itself. Otherwise a level, of which only the rise counts
    words: tuple[str, ...] = ()  # the moment in a few words that thumbs are remembered by, see `teaching.taste`
    untuned: float | None = None  # the value before thumbs moved it


class Gate(Protocol):
    """``state`` is whatever ``start`` returned or the last ``step`` handed on; a gate keeps nothing else."""

    name: str
    threshold: float  # the gate's own sensible default for the policy

    def start(self) -> Any: ...

    def step(self, state: Any, view: View) -> tuple[Any, Score]: ...
