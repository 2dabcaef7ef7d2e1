"""A run decided again from its recording: with the same parts exactly as it was, with other parts as it would have been."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serval.assistant.amending import Amended, is_amendment
from serval.assistant.answers.build import build_answerer
from serval.assistant.assembly import Standing, Understood, assemble
from serval.assistant.event import Event, EventKind
from serval.assistant.instructions.instruction import Instruction, Understanding
from serval.assistant.log import Unkept
from serval.assistant.meaning import embedder, likeness
from serval.assistant.teaching.taught import tastes_of
from serval.assistant.timeline.diff import Difference, diff
from serval.assistant.timeline.recording import FILE as RECORDING
from serval.assistant.timeline.recording import Admitted, Recording
from serval.assistant.timeline.run import RunInfo
from serval.assistant.timeline.timeline import FILE as TIMELINE
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.eyes import PARTS
from serval.encoders.percept import Looks, Percept
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.outline import Outline
from serval.refusal import Refusal
from serval.sources.source import NoteKind, SourceNote

log = logging.getLogger(__name__)


class RecordedFrame(Frame):
    """An admitted frame: its small grey picture, its name, and its pixels as far as a picture of it was kept."""

    def __init__(self, recording: Recording, admitted: Admitted) -> None:
        self.source, self.index, self.time = admitted.source, admitted.index, admitted.time
        self._recording, self._admitted = recording, admitted
        self.__dict__["luma"] = admitted.luma

    def _kept(self) -> Any:
        return self._recording.picture(self.source, self.index)

    @property
    def width(self) -> int:
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        picture = self._kept()
        if picture is None:
            raise Refusal(f"frame {self.index} of {self.source}", "its picture is not kept", "use an answerer that needs none")
        return np.asarray(picture.open())

    @property
    def sha256(self) -> str:
        percept = self._recording.percept(self.source, self.index)
        if percept is not None and percept.sha256:
            return percept.sha256
        picture = self._kept()
        return picture.sha256 if picture is not None else ""


class RecordedEyes:
    """Gives back what was seen. A look that was never taken sees nothing, and is counted in `missed`."""

    def __init__(self, recording: Recording, models: dict[str, str]) -> None:
        self._recording, self.models, self.missed = recording, models, 0

    def equip(self, models: dict[str, str]) -> None:
        """From here on these parts were in use."""
        self.models = models

    def look(self, frame: Frame, looks: Looks) -> Percept:
        seen = self._recording.percept(frame.source, frame.index)
        if seen is not None and _holds(seen, looks):
            return seen
        closer = self._recording.deep(frame.source, frame.index, looks)
        if closer is not None:
            return closer
        self.missed += 1
        if seen is not None:
            return seen
        return Percept(source=frame.source, index=frame.index, time=frame.time, luma=frame.luma)


class RecordedOutlines:
    """Gives back what was drawn around persons when these events were told."""

    def __init__(self, told: Iterable[Event]) -> None:
        self.model = ""
        self._drawn: dict[tuple[str, Box], Outline] = {}
        for event in told:
            self.model = event.models.get("outlines", self.model)
            self._drawn |= {(each.frame, each.box): each.outline for each in event.evidence if each.outline and each.box}

    def around(self, frame: Frame, box: Box) -> Outline:
        return self._drawn.get((frame.sha256, box), ())


def _holds(percept: Percept, looks: Looks) -> bool:
    asked = {
        "detections": looks.detect,
        "feature": looks.features,
        "hands": looks.hands,
        "faces": looks.faces,
        "text": looks.text,
    }
    return all(getattr(percept, name) is not None for name, wanted in asked.items() if wanted)


def opened_run(folder: Path, timeline: str | None = None) -> tuple[Timeline, Recording, RunInfo]:
    """The timeline, recording and description of a run, for reading.

    Args:
        timeline: its address, where it is not in the folder.

    Raises:
        Refusal: there is no run, or it says nothing of what it was made of.
    """
    opened = Timeline.open(timeline or folder, write=False)
    try:
        info = opened.info
        if info is None:
            raise Refusal(str(folder), "this run does not say what it was made of", "record it again with serval watch")
        return opened, Recording.open(folder, write=False), info
    except BaseException:
        opened.close()
        raise


def standing_of(info: RunInfo) -> list[Understood]:
    """The instructions of a run as they were understood then."""
    return [
        Understood(Instruction.model_validate(each["instruction"]), Understanding.model_validate(each["understanding"]))
        for each in info.arguments.get("standing", [])
    ]


def admitted(timeline: Timeline, recording: Recording) -> Iterator[Frame | SourceNote]:
    """The inputs of a run in the order of time: its frames, and what its sources told."""
    frames: Iterable[Frame | SourceNote] = (RecordedFrame(recording, each) for each in recording.frames())
    return heapq.merge(_notes(timeline), frames, key=lambda item: item.time)


def _notes(timeline: Timeline) -> Iterator[SourceNote]:
    kinds = set(NoteKind)
    for event in timeline.events(kind=EventKind.SOURCE):
        if event.data.get("note") in kinds:
            data = {name: value for name, value in event.data.items() if name != "note"}
            yield SourceNote(NoteKind(event.data["note"]), event.source, event.t_start, event.text, data)


def replay(
    folder: Path,
    *,
    gate: str | None = None,
    answerer: str | None = None,
    to: Path | None = None,
    progress: Callable[[float], None] = lambda time: None,
) -> Difference:
    """Decide a run again and compare.

    Args:
        gate: in place of the run's own.
        answerer: in place of the run's own.
        to: folder for the new timeline; it is held in memory otherwise.
        progress: told the time reached.

    Returns:
        The difference, the run on the left. When words were said is left out of it: that is the machine's own speed.

    Raises:
        Refusal: no run, parts that cannot be had, a gate that cannot be, or ``to`` holds a run already.
    """
    if to is not None and any((to / name).exists() for name in (TIMELINE, RECORDING)):
        raise Refusal(str(to), "it holds a run already", "name another folder with --to")
    timeline, recording, info = opened_run(folder)
    with timeline, recording:
        asked = {**info.arguments, **({"gate": gate} if gate else {}), **({"answerer": answerer} if answerer else {})}
        standing, weigh, words = standing_of(info), likeness(embedder()), build_answerer(asked.get("answerer"))
        in_force = Standing(standing, asked.get("gate"), weigh, tastes_of(asked.get("taught", {})))
        for each in standing:
            in_force.try_out(each)  # refuses a gate that cannot be
        looker = RecordedEyes(recording, {role: model for role, model in info.parts.items() if role in PARTS})
        said: list[Event] = []
        wake_drops = {
            str(event.data["wake"]): str(event.data["reason"])
            for event in timeline.events(kind=EventKind.SOURCE)
            if event.data.get("note") == "wake dropped"
        }
        with Timeline.open(to) if to is not None else nullcontext(Unkept()) as target:
            if isinstance(target, Timeline):
                target.start(info.model_copy(update={"arguments": asked}))
            watcher = assemble(
                in_force,
                looker=looker,
                answerer=words,
                timeline=target,
                started=info.started,
                skip=wake_drops,
                on_event=said.append,
                in_order=asked.get("pace") != "realtime",
                outliner=RecordedOutlines(timeline.events(kind=EventKind.UTTERANCE)),
            )
            for event in timeline.events(until=0.0):
                given = event.kind is EventKind.INSTRUCTION and not is_amendment(event)
                if given or event.data.get("note") == "ability off":
                    watcher.publish(event)  # given, not decided
            amended = Amended(timeline.events(kind=EventKind.INSTRUCTION), in_force, watcher, looker.equip)
            for item in admitted(timeline, recording):
                if isinstance(item, SourceNote):
                    watcher.note(item)
                else:
                    amended.before(item)
                    watcher.observe(item)
                progress(item.time)
            for event in timeline.events(kind=EventKind.ANSWER):
                watcher.publish(event)  # heard: the recording holds no sound to hear it again
            watcher.finish()
        if looker.missed:
            log.warning("%d looks were asked for that the recording does not hold", looker.missed)
        for gone in recording.evicted():
            log.warning("%s: part of the recording was evicted; what it decided then is not decided again", gone.source)
        return diff(timeline.events(), said, ignore=("said_at",))
