"""Puts a watch together from its parts. Watching, replaying and measuring all start here, so that they do the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from serval.assistant.answers.answer import Answerer
from serval.assistant.event import Event
from serval.assistant.instructions.book import InstructionBook
from serval.assistant.instructions.instruction import Instruction, Target, Understanding
from serval.assistant.memory import Memory
from serval.assistant.perception import Perception
from serval.assistant.timeline.recording import Recording
from serval.assistant.watch import looks_for, make_watch
from serval.assistant.watcher import Log, Looker, Station, Watcher


@dataclass(frozen=True)
class Understood:
    """An instruction with what Serval made of it."""

    instruction: Instruction
    understanding: Understanding


def assemble(
    standing: Sequence[Understood],
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
) -> Watcher:
    """A watcher for these standing instructions.

    Args:
        gate: name of a gate that replaces every instruction's own.
        likeness: query sentence -> ``[1000]`` weights over ImageNet tags.
        threaded, now, started, skip, on_event, in_order: see `Watcher`.
    """
    book = InstructionBook([each.instruction for each in standing])
    understandings = {each.instruction.id: each.understanding for each in standing}

    def make_station(source: str) -> Station:
        here = [
            (instruction, understandings[instruction.id])
            for instruction in book.for_source(source)
            if understandings[instruction.id].target is not Target.NOTHING
        ]
        watches = [make_watch(instruction, understanding, gate, likeness) for instruction, understanding in here]
        return Station(Perception(looks_for([understanding for _, understanding in here])), watches)

    return Watcher(
        looker=looker,
        answerer=answerer,
        make_station=make_station,
        timeline=timeline,
        memory=memory,
        book=book,
        recording=recording,
        threaded=threaded,
        now=now,
        started=started,
        skip=skip,
        on_event=on_event,
        in_order=in_order,
    )
