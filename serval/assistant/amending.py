"""Instructions that change under a running watch: each change an event that says so, and that a replay applies again.

The event holds all that its effect depends on: the instruction, how it was understood then, the parts at hand from then on,
and the frame before which it came. Changes are inputs, as frames are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from serval.assistant.assembly import Standing, Understood
from serval.assistant.event import Event, EventKind
from serval.assistant.instructions.instruction import Instruction, Understanding
from serval.assistant.instructions.live_file import Amendment, Change, LiveFile
from serval.assistant.watcher import Watcher
from serval.media.frame import Frame

_TAKES_EFFECT = {Change.ADDED, Change.CHANGED, Change.REMOVED}


class Amending:
    """Looks at the instructions file between frames, and takes up what it finds.

    Args:
        understand: an instruction with what it comes to.
        equip: opens the encoders that these understandings need, and returns the ids of all parts in use.
        now: seconds on the run's clock; None where events are said at the time of their frame.
        started: wall time of second 0.
        source: for events that concern the whole run.
    """

    def __init__(
        self,
        file: LiveFile,
        standing: Standing,
        watcher: Watcher,
        *,
        understand: Callable[[Instruction], Understood],
        equip: Callable[[list[Understanding]], dict[str, str]],
        started: datetime,
        now: Callable[[], float] | None = None,
        source: str = "",
    ) -> None:
        self._file, self._standing, self._watcher = file, standing, watcher
        self._understand, self._equip, self._started, self._now, self._source = understand, equip, started, now, source
        self._count = 0

    def before(self, frame: Frame) -> None:
        """Take up whatever changed, before this frame is looked at."""
        for found in self._file.look(frame.time, self._started + timedelta(seconds=frame.time)):
            event = self._event(found, frame)
            apply(event, self._standing, self._watcher)
            self._watcher.publish(event)

    def _event(self, found: Amendment, frame: Frame) -> Event:
        self._count += 1
        name = found.instruction.id if found.instruction is not None else None
        data: dict[str, object] = {"change": str(found.change), "before": [frame.source, frame.index]}
        understanding = None
        if found.instruction is not None:
            data |= {"text": found.instruction.text, "instruction": found.instruction.model_dump(mode="json", by_alias=True)}
        if found.instruction is not None and found.change in (Change.ADDED, Change.CHANGED):
            understanding = self._understand(found.instruction).understanding
            models = self._equip([*self._standing.understandings, understanding])
            data |= {"understanding": understanding.model_dump(mode="json"), "models": models}
        return Event(
            id=f"amendment-{self._count}-{name or 'file'}",
            kind=EventKind.INSTRUCTION,
            source=self._source,
            instruction=name,
            t_start=frame.time,
            t_end=frame.time,
            said_at=self._now() if self._now is not None else frame.time,
            text=_words(found, understanding),
            data=data,
        )


class Amended:
    """The changes of a recorded run, applied again each before the frame before which it came.

    Args:
        equip: told the parts in use from a change on.
    """

    def __init__(
        self, events: Iterable[Event], standing: Standing, watcher: Watcher, equip: Callable[[dict[str, str]], None]
    ) -> None:
        self._events = [event for event in events if is_amendment(event)]
        self._standing, self._watcher, self._equip = standing, watcher, equip

    def before(self, frame: Frame) -> None:
        """Apply what came before this frame, or before one that the recording no longer holds."""
        while self._events and _is_next(self._events[0], frame):
            event = self._events.pop(0)
            if "models" in event.data:
                self._equip(event.data["models"])
            apply(event, self._standing, self._watcher)
            self._watcher.publish(event)


def is_amendment(event: Event) -> bool:
    """Whether an event tells a change of the instructions that came while the watch was running."""
    return event.kind is EventKind.INSTRUCTION and "change" in event.data


def understanding_of(event: Event) -> Understanding:
    """How the instruction that was added or changed was understood then."""
    return Understanding.model_validate(event.data["understanding"])


def apply(event: Event, standing: Standing, watcher: Watcher) -> None:
    """Let a change of the instructions take effect, in the watch itself and in its replay alike."""
    change = Change(event.data["change"])
    if change is Change.ACKNOWLEDGED and event.instruction is not None:
        standing.book.acknowledge(event.instruction)
    if change not in _TAKES_EFFECT:
        return
    if change is Change.REMOVED and event.instruction is not None:
        standing.drop(event.instruction)
    else:
        instruction = Instruction.model_validate(event.data["instruction"])
        standing.put(Understood(instruction, understanding_of(event)))
    watcher.amend(standing.renew)


def _is_next(event: Event, frame: Frame) -> bool:
    source, index = event.data["before"]
    return (frame.source == source and frame.index >= index) or frame.time > event.t_start + 60


def _words(found: Amendment, understanding: Understanding | None) -> str:
    asked = found.instruction
    if asked is None:
        return f"The instructions file is not taken as it stands now ({found.why}); what was asked for before goes on"
    if found.change is Change.ACKNOWLEDGED:
        return f"Acknowledged: {asked.text}"
    if found.change is Change.EXPIRED:
        return f"“{asked.text}” has expired"
    if found.change is Change.REMOVED or understanding is None:
        return f"No longer: {asked.text}"
    if not asked.enabled:
        return f"Switched off: {asked.text}"
    return f"From now on: {understanding.cannot or understanding.read_back}"
