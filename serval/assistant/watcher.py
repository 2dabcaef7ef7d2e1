"""The event loop: frames in, events out. All that decides is causal and pure; all that is slow happens at the desk."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from serval.assistant.answers.answer import Answer, Answerer, Request
from serval.assistant.answers.gather import gather
from serval.assistant.desk import Desk, Wake
from serval.assistant.event import Event, EventKind, Fact
from serval.assistant.gates import TAUGHT
from serval.assistant.instructions.book import InstructionBook
from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.schema import fill_data
from serval.assistant.log import Log
from serval.assistant.memory import Memory
from serval.assistant.polled import found, is_news
from serval.assistant.station import Pending, Station, Status
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import TraceRow
from serval.assistant.utterance import Outliner, named, outlined, utterance
from serval.assistant.view import View
from serval.assistant.watch import CLOSER, Watch
from serval.encoders.percept import Looks, Percept
from serval.media.frame import Frame
from serval.sources.source import SourceNote

log = logging.getLogger(__name__)


class Looker(Protocol):
    """Whatever can look at a frame: the live encoders, or a recording of what they saw."""

    @property
    def models(self) -> dict[str, str]: ...

    def look(self, frame: Frame, looks: Looks) -> Percept: ...


class Watcher:
    """Feeds frames to each source's perception, each watch's gate and policy, and wakes to the desk.

    Args:
        looker: runs the small encoders (or replays them).
        answerer: turns facts into words.
        make_station: source name -> its fresh `Station`.
        timeline, recording, memory: where events, inputs and the past are kept; the last two may be left out.
        threaded: answer on a worker thread (real time) instead of inline (every frame waits, every run alike).
        now: seconds on the run's clock; inline answers carry the time of the frame at which they were spoken instead.
        started: wall time of second 0, for schedules and expiry.
        merge_seconds: how long a wake waits for company before it is spoken.
        skip: ids of wakes that are dropped, with the reason; replaying a run drops those that the run itself dropped.
        on_event: told of every event, after it is durable.
        in_order: wakes are answered one after the other as they come, in this run and in the one it replays. Only then may
            wording depend on what was said before: in real time the desk answers by urgency and by its own speed, which no
            replay can know.
        outliner: draws around the persons that something is said of.
    """

    def __init__(
        self,
        *,
        looker: Looker,
        answerer: Answerer,
        make_station: Callable[[str], Station],
        timeline: Log,
        memory: Memory | None = None,
        book: InstructionBook,
        recording: Recording | None = None,
        threaded: bool = False,
        now: Callable[[], float] | None = None,
        started: datetime | None = None,
        merge_seconds: float = 0.25,
        skip: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        trace_length: int = 240,
        in_order: bool = True,
        outliner: Outliner | None = None,
    ) -> None:
        self._looker, self._answerer, self._make_station = looker, answerer, make_station
        self._timeline, self._memory, self._book, self._recording = timeline, memory, book, recording
        self._now, self._started = now, started or datetime.now().astimezone()
        self._merge, self._skip, self._on_event = merge_seconds, skip or {}, on_event
        self._trace_length, self._in_order = trace_length, in_order and not threaded
        self._outliner = outliner
        self._stations: dict[str, Station] = {}
        self._scores: dict[str, deque[float]] = {}
        self._time, self._said, self._answered, self._answer_seconds = 0.0, 0, 0, 0.0
        self._desk = Desk(self._answer, self._dropped, threaded=threaded, now=now or (lambda: self._time))

    # -- frames ---------------------------------------------------------------------------------------------------

    def run(self, items: Iterable[Frame | SourceNote]) -> None:
        """Watch until the items end, then speak what is still pending and close the desk."""
        try:
            for item in items:
                if isinstance(item, SourceNote):
                    self.note(item)
                else:
                    self.observe(item)
        finally:
            self.finish()

    def observe(self, frame: Frame) -> View:
        """One frame: look as little as possible, then let every watch decide."""
        station = self._station(frame.source)
        self._time = max(self._time, frame.time)
        change, looks = station.perception.plan(frame.luma, frame.time)
        if looks:
            percept = self._looker.look(frame, looks)
            station.looked_at(frame.time, percept.sha256)
        else:
            percept = Percept(source=frame.source, index=frame.index, time=frame.time, luma=frame.luma)
        view = station.view = station.perception.update(percept)
        station.frames += 1
        if self._recording is not None:
            self._recording.add(frame, percept, looks)
        if self._memory is not None:
            self._memory.add_frame(frame, percept)
        for watch in station.watches:
            self._decide(station, watch, frame, view)
        self._speak_pending(station, frame.time)
        log.debug("%s %.2f change %.3f looks %s", frame.source, frame.time, change, looks)
        return view

    def _decide(self, station: Station, watch: Watch, frame: Frame, view: View) -> None:
        name = watch.instruction.id
        score, decision = watch.step(view, gathering=name in station.pending)
        action: str = decision.action
        why = decision.why
        if action == "wake":
            pending = station.pending.get(name)
            due, why_not = self._book.due(watch.instruction, frame.source, frame.time, self._wall(frame.time))
            if pending is not None:
                pending.because.extend(decision.because)
                action, why = "merged", "told together with the wake just before"
            elif due:
                number = station.wakes[name] = station.wakes[name] + 1
                wake = Wake(_event_id(frame, name), number, watch, view, frame, score, decision, decision.because)
                station.pending[name] = Pending(wake, list(decision.because))
                self._book.spoke(name, frame.source, frame.time)
            else:
                action, why = "held", why_not
        self._scores.setdefault(f"{frame.source}/{name}", deque(maxlen=self._trace_length)).append(score.value)
        self._timeline.trace(
            TraceRow(
                time=frame.time,
                source=frame.source,
                index=frame.index,
                instruction=name,
                gate=watch.gate.name,
                score=score.value,
                threshold=watch.policy.threshold,
                action=action,
                why=why or score.why,
            )
        )

    def amend(self, renew: Callable[[str, Station], None]) -> None:
        """The instructions are others now: speak what waits, then let ``renew`` change each source's watches."""
        for name, station in self._stations.items():
            self._speak_pending(station, self._time, everything=True)
            renew(name, station)

    def _speak_pending(self, station: Station, now: float, everything: bool = False) -> None:
        for name, pending in list(station.pending.items()):
            alone = station.view is not None and not station.view.unresolved  # nothing else is about to happen
            settled = alone or not pending.because or now - pending.wake.view.time >= self._merge
            if everything or settled:
                del station.pending[name]
                self._desk.put(replace(pending.wake, because=tuple(pending.because)))

    def _station(self, source: str) -> Station:
        if source not in self._stations:
            self._stations[source] = self._make_station(source)
        return self._stations[source]

    def _wall(self, seconds: float) -> datetime:
        return self._started + timedelta(seconds=seconds)

    # -- words ----------------------------------------------------------------------------------------------------

    def _answer(self, wake: Wake) -> None:
        if wake.id in self._skip:
            self._dropped(wake, self._skip[wake.id])
            return
        began = time.perf_counter()
        frame, instruction = wake.frame, wake.watch.instruction
        percept = self._look_again(wake)
        facts = gather(wake.view, wake.because, frame.sha256, percept, wake.watch.understanding)
        station = self._stations[frame.source]
        facts = tuple(named(fact, station.pictures) for fact in facts)
        news, said = self._is_news(wake, facts, station), station.said
        request = Request(
            facts=facts,
            time=frame.time,
            source=frame.source,
            instruction=instruction,
            frames=(frame,),
            said_before=tuple(said) if self._in_order else (),
            seed=wake.number,
        )
        answer = self._answerer.answer(request)
        self._answer_seconds += time.perf_counter() - began
        self._answered += 1
        if not news:
            return  # a poll that found what the last one found
        said.append(answer.text)
        data, models = self._data(instruction, facts, frame.time, answer), {**self._looker.models, **self._answerer.models}
        said_at = self._now() if self._now else self._time
        event = utterance(wake, facts, answer, data=data, models=models, said_at=said_at)
        if self._outliner is not None:
            event = outlined(event, frame, self._outliner)
        if self._recording is not None:
            self._recording.keep(each.frame for each in event.evidence)
        self.publish(event)

    def _data(self, instruction: Instruction, facts: tuple[Fact, ...], time: float, answer: Answer) -> dict[str, Any]:
        """The event's data: what satisfies the instruction's schema, or whatever the answerer gave when it has none."""
        if instruction.schema_ is None:
            return dict(answer.data)
        filled = fill_data(instruction, facts, time)
        if filled.why:
            log.info("%s: no data: %s", instruction.id, filled.why)
        return filled.data

    def _is_news(self, wake: Wake, facts: tuple[Fact, ...], station: Station) -> bool:
        """A change is news, and so is a wake of the own gate or one that was taught; what a poll finds may not be."""
        asked, name = wake.watch.understanding, wake.watch.instruction.id
        if wake.because or wake.watch.gate.name in (asked.gate, *TAUGHT):
            return True
        before, station.found[name] = station.found.get(name), found(asked, facts)
        return is_news(asked, before, station.found[name])

    def _look_again(self, wake: Wake) -> Percept:
        """The slow path's closer look at the keyframe: whatever the fast path left out and this target needs."""
        seen, closer = wake.view.percept, CLOSER[wake.watch.understanding.target]
        wanted = Looks(
            detect=closer.detect and seen.detections is None,
            features=closer.features and seen.feature is None,
            hands=closer.hands and seen.hands is None,
            text=closer.text and seen.text is None,
        )
        if not wanted:
            return seen
        more = self._looker.look(wake.frame, wanted)
        if self._recording is not None:
            self._recording.add_deep(wake.frame, more, wanted)
        keep = {name: getattr(seen, name) for name in ("detections", "feature", "tags", "hands", "faces", "text")}
        return replace(more, **{name: value for name, value in keep.items() if value is not None})

    def _dropped(self, wake: Wake, reason: str) -> None:
        name = wake.watch.instruction.id
        self.publish(
            Event(
                id=f"{wake.id}-dropped",
                kind=EventKind.SOURCE,
                source=wake.frame.source,
                instruction=name,
                t_start=wake.frame.time,
                t_end=wake.frame.time,
                said_at=self._now() if self._now else wake.frame.time,
                text=f"Nothing was said for “{name}”: {reason}",
                data={"note": "wake dropped", "reason": reason, "wake": wake.id},
            )
        )

    def note(self, note: SourceNote) -> None:
        """Put what happened to a source (lost, back, frozen, ended …) on the timeline."""
        self._time = max(self._time, note.time)
        if note.kind == "ended" and note.source in self._stations:
            self._speak_pending(self._stations[note.source], note.time, everything=True)
        key = f"{note.source}:{note.kind}:{note.time:.3f}:{note.text}"
        self.publish(
            Event(
                id=f"note-{hashlib.sha256(key.encode()).hexdigest()[:16]}",
                kind=EventKind.SOURCE,
                source=note.source,
                t_start=note.time,
                t_end=note.time,
                said_at=note.time,
                text=note.text,
                data={"note": str(note.kind), **note.data},
            )
        )

    def publish(self, event: Event) -> None:
        """Durable first, shown after."""
        self._timeline.add(event)
        if self._memory is not None:
            self._memory.add_event(event)
        self._said += event.kind is EventKind.UTTERANCE
        self._on_event(event)

    def finish(self) -> None:
        """Speak what is pending, end the desk, flush what is kept."""
        for station in self._stations.values():
            self._speak_pending(station, self._time, everything=True)
        self._desk.close()
        self._timeline.flush()
        if self._recording is not None:
            self._recording.flush()

    def status(self) -> Status:
        return Status(
            time=self._time,
            frames={name: station.frames for name, station in dict(self._stations).items()},
            looked={name: station.looked for name, station in dict(self._stations).items()},
            scores={name: tuple(scores) for name, scores in dict(self._scores).items()},
            waiting=self._desk.waiting,
            memory_bytes=self._memory.size_bytes if self._memory is not None else 0,
            answer_seconds=self._answer_seconds,
            answered=self._answered,
            said=self._said,
        )


def _event_id(frame: Frame, instruction: str) -> str:
    """The same moment of the same source under the same instruction has the same id, in every run."""
    return hashlib.sha256(f"{frame.source}:{frame.index}:{instruction}".encode()).hexdigest()[:16]
