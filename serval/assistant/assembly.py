"""Puts a watch together from its parts. Watching, replaying and measuring all start here, so that they do the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from serval.assistant.answers.answer import Answerer
from serval.assistant.event import Event
from serval.assistant.gates import Builder, build, is_taught
from serval.assistant.instructions.book import InstructionBook
from serval.assistant.instructions.instruction import Instruction, Target, Understanding
from serval.assistant.log import Log
from serval.assistant.memory import Memory
from serval.assistant.perception import Perception
from serval.assistant.station import Station
from serval.assistant.teaching.taste import Taste
from serval.assistant.teaching.thumbs import asked_as
from serval.assistant.timeline.recording import Recording
from serval.assistant.utterance import Outliner
from serval.assistant.watch import Watch, looks_for, make_watch
from serval.assistant.watcher import Looker, Watcher
from serval.encoders.percept import Looks


@dataclass(frozen=True)
class Understood:
    """An instruction with what Serval made of it."""

    instruction: Instruction
    understanding: Understanding


class Standing:
    """The instructions in force, and the watches they come to. A person may amend them while a watch runs.

    Args:
        gate: name of a gate that replaces every instruction's own.
        likeness: query sentence -> ``[1000]`` weights over ImageNet tags.
        tastes: what thumbs come to, by the `teaching.thumbs.asked_as` of the instruction that they were given for.
        gates: makes the gates.
    """

    def __init__(
        self,
        held: Sequence[Understood],
        gate: str | None = None,
        likeness: Callable[[str], NDArray[np.float32]] | None = None,
        tastes: Mapping[str, Taste] | None = None,
        gates: Builder = build,
    ) -> None:
        self._held = {each.instruction.id: each for each in held}
        self._gate, self._likeness, self._tastes, self._gates = gate, likeness, tastes or {}, gates
        self.book = InstructionBook([each.instruction for each in held])

    @property
    def understandings(self) -> list[Understanding]:
        return [each.understanding for each in self._held.values()]

    def put(self, new: Understood) -> None:
        """Add an instruction, or change the one of the same id: asked in other words, it begins anew."""
        name = new.instruction.id
        old = self._held.get(name)
        if old is not None and (old.understanding, old.instruction.gate) != (new.understanding, new.instruction.gate):
            self.book.forget(name)
        self._held[name] = new
        self.book.replace(each.instruction for each in self._held.values())

    def drop(self, name: str) -> None:
        self._held.pop(name, None)
        self.book.forget(name)
        self.book.replace(each.instruction for each in self._held.values())

    def make_station(self, source: str) -> Station:
        """The fresh state of a source."""
        return Station(Perception(self._looks(source)), self._watches(source, []))

    def renew(self, source: str, station: Station) -> None:
        """Bring a source's watches up to date. Those of unchanged instructions remember what they saw."""
        before = station.watches
        station.watches = self._watches(source, before)
        kept = {watch.instruction.id for watch in station.watches if any(each.gate is watch.gate for each in before)}
        station.found = {name: found for name, found in station.found.items() if name in kept}
        station.perception.ask(self._looks(source))

    def try_out(self, new: Understood) -> None:
        """Make its watch and forget it, so that what takes long is done. Raises `Refusal` for a gate that cannot be."""
        if new.understanding.target is not Target.NOTHING:
            self._make(new)

    def _make(self, new: Understood) -> Watch:
        taste = self._tastes.get(asked_as(new.instruction.text))
        return make_watch(new.instruction, new.understanding, self._gate, self._likeness, taste=taste, gates=self._gates)

    def _here(self, source: str) -> list[Understood]:
        here = [self._held[instruction.id] for instruction in self.book.for_source(source)]
        return [each for each in here if each.understanding.target is not Target.NOTHING]

    def _looks(self, source: str) -> Looks:
        here = self._here(source)
        taught = any(is_taught(self._gate or each.instruction.gate) for each in here)
        return looks_for([each.understanding for each in here], taught=taught)

    def _watches(self, source: str, before: Sequence[Watch]) -> list[Watch]:
        old, watches = {watch.instruction.id: watch for watch in before}, []
        for each in self._here(source):
            watch, new = old.get(each.instruction.id), each.instruction
            if watch is not None and (watch.understanding, watch.instruction.gate) == (each.understanding, new.gate):
                watch = copy(watch)  # wakes that wait for their words keep the old one
                watch.instruction = new
            else:
                watch = self._make(each)
            watches.append(watch)
        return watches


def assemble(
    standing: Standing | Sequence[Understood],
    *,
    looker: Looker,
    answerer: Answerer,
    timeline: Log,
    memory: Memory | None = None,
    recording: Recording | None = None,
    gate: str | None = None,
    likeness: Callable[[str], NDArray[np.float32]] | None = None,
    threaded: bool = False,
    now: Callable[[], float] | None = None,
    started: datetime | None = None,
    skip: Mapping[str, str] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    in_order: bool = True,
    outliner: Outliner | None = None,
) -> Watcher:
    """A watcher for these standing instructions.

    Args:
        standing: with its own gate and likeness where it is to be amended while the watch runs.
        gate: name of a gate that replaces every instruction's own.
        likeness: query sentence -> ``[1000]`` weights over ImageNet tags.
        threaded, now, started, skip, on_event, in_order, outliner: see `Watcher`.
    """
    held = standing if isinstance(standing, Standing) else Standing(standing, gate, likeness)
    return Watcher(
        looker=looker,
        answerer=answerer,
        make_station=held.make_station,
        timeline=timeline,
        memory=memory,
        book=held.book,
        recording=recording,
        threaded=threaded,
        now=now,
        started=started,
        skip=skip,
        on_event=on_event,
        in_order=in_order,
        outliner=outliner,
    )
