"""How much is told of a connection that is lost again and again: a camera that hangs up, or an address of single pictures."""

from __future__ import annotations

from collections import deque

from serval.sources.source import NoteKind, SourceNote

_OFTEN, _MINUTE = 3, 60.0  # losses within so many seconds that are told one by one


class Flapping:
    """Tells the first losses one by one, then once that there is no end to it, then one line a minute with their number.

    It is over when the connection has held for a minute; until then no return is told either.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._losses: deque[float] = deque(maxlen=_OFTEN + 1)
        self._often = False
        self._told, self._untold = 0.0, 0  # when a loss was told last, and how many since then were not

    def lost(self, time: float, what: str, why: str) -> list[SourceNote]:
        """The connection is lost; ``what`` is "is lost" or "cannot be opened"."""
        self._losses.append(time)
        if self._often:
            self._untold += 1
            return self.passing(time)
        self._often = len(self._losses) > _OFTEN and time - self._losses[0] < _MINUTE
        self._told = time
        if self._often:
            return [self._note(NoteKind.LOST, time, f"keeps being lost ({why}); from here on this is told once a minute")]
        return [self._note(NoteKind.LOST, time, f"{what} ({why}); trying again")]

    def passing(self, time: float) -> list[SourceNote]:
        """Time passes without a connection: what was not told yet may be due."""
        if not self._untold or time - self._told < _MINUTE:
            return []
        count, span = self._untold, time - self._told
        self._told, self._untold = time, 0
        times = "once" if count == 1 else f"{count} times"
        return [self._note(NoteKind.LOST, time, f"was lost {times} in {span:.0f} s", {"lost": count})]

    def picture(self, time: float, *, first: bool) -> list[SourceNote]:
        """A picture came, the ``first`` after a loss or a later one."""
        if self._often and time - self._losses[-1] >= _MINUTE:
            self._often, self._untold = False, 0
            self._losses.clear()
            return [self._note(NoteKind.BACK, time, f"is back, and has held for {_MINUTE:.0f} s")]
        return [self._note(NoteKind.BACK, time, "is back")] if first and not self._often else []

    def _note(self, kind: NoteKind, time: float, text: str, data: dict[str, int] | None = None) -> SourceNote:
        return SourceNote(kind, self._source, time, f"{self._source} {text}", dict(data or {}))
