"""Where events and the gate trace go."""

from __future__ import annotations

from typing import Protocol

from serval.assistant.event import Event
from serval.assistant.timeline.timeline import TraceRow


class Log(Protocol):
    """Where events and the gate trace go: a `Timeline`, or nowhere."""

    def add(self, event: Event) -> bool: ...

    def trace(self, row: TraceRow) -> None: ...

    def flush(self) -> None: ...


class Unkept:
    """A log that keeps nothing, for decisions that are only listened to."""

    def add(self, event: Event) -> bool:
        return True

    def trace(self, row: TraceRow) -> None:
        pass

    def flush(self) -> None:
        pass
