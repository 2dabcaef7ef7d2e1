"""The instructions file of a watch that is running: what a person changed in it since it was read last.

Only this file is looked at, by its name from the command line; nothing that a picture shows comes near it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.schedule import in_zone
from serval.assistant.instructions.store import acknowledged, beside, load
from serval.refusal import Refusal

EVERY = 1.0  # seconds between two looks at the file


class Change(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"  # the file; what it held before goes on


@dataclass(frozen=True)
class Amendment:
    """One change. Of an unreadable file there is no instruction, and ``why`` says what is the matter."""

    change: Change
    instruction: Instruction | None = None
    why: str = ""


Signature = tuple[int, int, int] | None  # of a file: time of its last change in ns, size, inode; None for one that is not there


class LiveFile:
    """Looks at most once a second of the run's clock, and takes a change when the file is the same at two looks in a row.

    That way a file in the middle of being written is not taken for one whose end was removed.

    Args:
        path: of the file; None to tell expiry alone, as of a run that must come out the same each time.
        held: what the file held when the run began.
        others: instructions that were given otherwise; they expire too, and their ids are taken.
        check: raises `Refusal` for an instruction that cannot be watched for as it is written; then none of the file is taken.
    """

    def __init__(
        self,
        path: Path | None,
        held: Sequence[Instruction],
        *,
        others: Sequence[Instruction] = (),
        check: Callable[[Instruction], None] = lambda instruction: None,
    ) -> None:
        self._path, self._check = path, check
        self._held, self._others = {each.id: each for each in held}, {each.id: each for each in others}
        self._looked = -EVERY
        self._taken: Signature | str = "nothing yet"  # whatever was written while the parts were loading is a change
        self._before: Signature | str = self._taken
        self._broken = False
        self._acknowledged = acknowledged(path) if path is not None else {}
        self._acknowledged_at = _signature(beside(path)) if path is not None else None
        self._expired: set[tuple[str, datetime]] = set()

    def look(self, time: float, wall: datetime) -> list[Amendment]:
        """What changed since the last look.

        Args:
            time: seconds on the run's clock.
            wall: the same moment in local time, with its time zone.
        """
        if time - self._looked < EVERY:
            return []
        self._looked = time
        found = [*self._changes(self._path), *self._acknowledgements(self._path)] if self._path is not None else []
        return found + self._expiries(wall)

    def _changes(self, path: Path) -> list[Amendment]:
        now, before = _signature(path), self._before
        self._before = now
        if now == self._taken or now != before:
            return []
        self._taken = now
        try:
            new = self._read(path)
        except Refusal as refusal:
            told, self._broken = self._broken, True
            what = refusal.what.replace(str(path), path.name)
            return [] if told else [Amendment(Change.UNREADABLE, why=f"{what}: {refusal.why}")]
        old, self._held, self._broken = self._held, new, False
        gone = [Amendment(Change.REMOVED, each) for name, each in old.items() if name not in new]
        more = [Amendment(Change.ADDED, each) for name, each in new.items() if name not in old]
        other = [Amendment(Change.CHANGED, each) for name, each in new.items() if name in old and old[name] != each]
        return gone + other + more

    def _read(self, path: Path) -> dict[str, Instruction]:
        if not path.exists():
            raise Refusal(str(path), "there is no such file any more")
        new = {each.id: each for each in load(path)}
        for name, each in new.items():
            if name in self._others:
                raise Refusal(str(path), f"“{name}” is the name of an instruction that was given with --tell")
            if self._held.get(name) != each:
                self._check(each)
        return new

    def _acknowledgements(self, path: Path) -> list[Amendment]:
        now = _signature(beside(path))
        if now == self._acknowledged_at:
            return []
        self._acknowledged_at = now
        before, self._acknowledged = self._acknowledged, acknowledged(path)
        seen = [name for name, when in self._acknowledged.items() if before.get(name) != when and name in self._held]
        return [Amendment(Change.ACKNOWLEDGED, self._held[name]) for name in seen]

    def _expiries(self, wall: datetime) -> list[Amendment]:
        out = []
        for each in [*self._held.values(), *self._others.values()]:
            if each.expires is None or not each.enabled or (each.id, each.expires) in self._expired:
                continue
            if wall >= in_zone(each.expires, wall):
                self._expired.add((each.id, each.expires))
                out.append(Amendment(Change.EXPIRED, each))
        return out


def _signature(path: Path) -> Signature:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
