"""Which instructions are awake for a source at a moment, and why another is not."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.schedule import awake, describe, in_zone


@dataclass
class _State:
    spoke: float | None = None  # seconds on the run's clock
    acknowledged: bool = False  # since it spoke


class InstructionBook:
    """The instructions of a run with what each has said on each source. Safe to use from several threads.

    What it answers depends only on the calls before and on the times given to it, never on the machine's clock.
    """

    def __init__(self, instructions: Iterable[Instruction]) -> None:
        self._instructions = tuple(instructions)
        self._states: dict[tuple[str, str], _State] = {}
        self._lock = threading.Lock()

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return self._instructions

    def replace(self, instructions: Iterable[Instruction]) -> None:
        """Other instructions from now on. What those of the same id said is remembered."""
        self._instructions = tuple(instructions)

    def forget(self, name: str) -> None:
        """An instruction begins anew, as if it had never spoken."""
        with self._lock:
            self._states = {key: state for key, state in self._states.items() if key[0] != name}

    def for_source(self, name: str) -> list[Instruction]:
        """Enabled instructions whose patterns fit a source's name, highest priority first, then in the order given."""
        fitting = [
            each for each in self._instructions if each.enabled and any(fnmatchcase(name, glob) for glob in each.sources)
        ]
        return sorted(fitting, key=lambda each: -each.priority)

    def due(self, instruction: Instruction, source: str, time: float, wall: datetime) -> tuple[bool, str]:
        """Whether an instruction may speak now, and in plain words why not.

        Args:
            time: seconds on the run's clock.
            wall: the same moment in local time, with its time zone.
        """
        if not instruction.enabled:
            return False, "it is switched off"
        if instruction.expires is not None and wall >= in_zone(instruction.expires, wall):
            return False, f"it expired at {instruction.expires:%Y-%m-%d %H:%M}"
        if instruction.schedule is not None and not awake(instruction.schedule, wall):
            return False, f"it is awake only {describe(instruction.schedule)}"
        with self._lock:
            state = self._states.get((instruction.id, source), _State())
            spoke, acknowledged = state.spoke, state.acknowledged
        if spoke is None:
            return True, ""
        if instruction.rearm == "once":
            return False, f"it was to speak once, and did at {spoke:.1f} s"
        if instruction.rearm == "acknowledged" and not acknowledged:
            return False, f"what it said at {spoke:.1f} s is not acknowledged yet"
        left = spoke + instruction.cooldown - time
        if left > 0:
            return False, f"it spoke {time - spoke:.1f} s ago and keeps silent for {left:.1f} s more"
        return True, ""

    def spoke(self, name: str, source: str, time: float) -> None:
        """Note that an instruction spoke on a source at a time on the run's clock."""
        with self._lock:
            self._states[(name, source)] = _State(spoke=time)

    def acknowledge(self, name: str, source: str | None = None) -> None:
        """Note that a person has seen what an instruction said, on one source or on all. Silence cannot be acknowledged."""
        with self._lock:
            for (held, where), state in self._states.items():
                if held == name and source in (None, where):
                    state.acknowledged = True
