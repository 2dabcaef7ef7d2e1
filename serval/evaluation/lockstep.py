"""Several gates over the same pictures at once: each picture is made and looked at once, every gate decides for itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from serval.assistant.answers.answer import Answerer
from serval.assistant.answers.checker import check
from serval.assistant.assembly import Understood, assemble
from serval.assistant.event import Event, EventKind
from serval.assistant.log import Unkept
from serval.assistant.watcher import Looker
from serval.encoders.percept import Looks, Percept
from serval.evaluation.streaming import Moment
from serval.media.frame import Frame

_HELD = 64  # looks that are remembered: a wake is answered a few frames after it began
_STARTED = datetime(2026, 1, 1, tzinfo=UTC)  # schedules play no part here


@dataclass
class GateRun:
    """What one gate made of a stretch of video.

    Attributes:
        said: utterances.
        answers: how often the answerer was asked.
        faithful: utterances in which the checker finds nothing that the facts do not hold.
        looks: how often the small encoders looked for this gate.
        seconds: of video.
    """

    said: list[Event] = field(default_factory=list)
    answers: int = 0
    faithful: int = 0
    looks: int = 0
    seconds: float = 0.0

    def moments(self, instruction: str) -> list[Moment]:
        """When something was said for one instruction."""
        return [Moment(event.said_at) for event in self.said if event.instruction == instruction]


class SharedEyes:
    """Looks once at each picture for all who ask, and remembers what each look cost."""

    def __init__(self, eyes: Looker) -> None:
        self._eyes, self.models = eyes, eyes.models
        self._seen: OrderedDict[tuple[str, int, Looks], Percept] = OrderedDict()

    def look(self, frame: Frame, looks: Looks) -> Percept:
        key = (frame.source, frame.index, looks)
        if key not in self._seen:
            self._seen[key] = self._eyes.look(frame, looks)
            while len(self._seen) > _HELD:
                self._seen.popitem(last=False)
        return self._seen[key]


def run_gates(
    frames: Iterable[Frame],
    standing: Sequence[Understood],
    gates: Sequence[str | None],
    *,
    eyes: Looker,
    answerer: Answerer,
    likeness: Callable[[str], NDArray[np.float32]] | None = None,
    on_request: Callable[[Event], None] = lambda event: None,
) -> dict[str, GateRun]:
    """Watch the same frames with each gate, causally, one frame at a time.

    Args:
        gates: names; None is each instruction's own gate, called "serval" in the result.
        on_request: told of every utterance of every gate.
    """
    shared = SharedEyes(eyes)
    runs = {gate or "serval": GateRun() for gate in gates}

    def listener(run: GateRun) -> Callable[[Event], None]:
        def listen(event: Event) -> None:
            if event.kind is EventKind.UTTERANCE:
                run.said.append(event)
                run.faithful += not check(event.text, event.facts)
                on_request(event)

        return listen

    watchers = [
        assemble(
            standing,
            looker=shared,
            answerer=answerer,
            timeline=Unkept(),
            gate=gate,
            likeness=likeness,
            started=_STARTED,
            on_event=listener(runs[gate or "serval"]),
        )
        for gate in gates
    ]
    last = 0.0
    for frame in frames:
        last = frame.time
        for watcher in watchers:
            watcher.observe(frame)
    for watcher, run in zip(watchers, runs.values(), strict=True):
        watcher.finish()
        status = watcher.status()
        run.answers, run.looks, run.seconds = status.answered, sum(status.looked.values()), last
    return runs
