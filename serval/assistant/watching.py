"""A watch from what a person asked for: sources opened, instructions understood, run folder kept, events told."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from serval.assistant.amending import Amending
from serval.assistant.answers.answer import Answerer
from serval.assistant.answers.build import build_answerer
from serval.assistant.assembly import Standing, Understood, assemble
from serval.assistant.event import Event, EventKind
from serval.assistant.gates import Builder, build
from serval.assistant.instructions.instruction import Instruction, Understanding
from serval.assistant.instructions.live_file import LiveFile
from serval.assistant.instructions.nouns import resolve
from serval.assistant.instructions.understand import understand
from serval.assistant.listening.answering import Questions
from serval.assistant.listening.build import open_listeners
from serval.assistant.listening.listener import Listener
from serval.assistant.meaning import embedder, likeness
from serval.assistant.memory import Memory
from serval.assistant.run_folder import forget, fresh_folder
from serval.assistant.station import Status
from serval.assistant.teaching.looking import TaughtEyes
from serval.assistant.teaching.taught import opened
from serval.assistant.timeline.export.annotated_video import AnnotatedVideo
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.run import RunInfo, SourceInfo
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.view import View
from serval.assistant.watch import looks_at_most, looks_for
from serval.assistant.watch_options import WatchOptions, asked_for, check
from serval.encoders.eyes import Eyes, abilities, available
from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.sources.clock import RealClock
from serval.sources.feed import Feed, Pace
from serval.sources.open import open_source
from serval.sources.source import Source, SourceNote


@dataclass(frozen=True)
class Summary:
    """What a watch came to."""

    folder: Path
    seconds: float  # of video; of a live source, watched or waited for
    took: float
    said: int
    status: Status
    drops: dict[str, dict[str, int]] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)  # utterances, by what was decided about them


class Watching:
    """A watch that is ready to run. Whoever makes one runs it or closes it.

    Args:
        options: what was asked for.
        on_event: told of every event after it is durable; from the desk's thread in real time.
        handed: sources that somebody hands pictures to, in place of ``options.sources``; they share ``clock``.
        asked: whether questions come while it watches, to ``questions``.
        answerer: in place of the one that the options name.
        eyes: shared with other watches; otherwise it opens its own.
        gates: makes the gates, as `serval.assistant.gates.build` does.

    Raises:
        Refusal: a source, an instruction or an option that cannot be honoured, before anything is written.
    """

    def __init__(
        self,
        options: WatchOptions,
        on_event: Callable[[Event], None] = lambda event: None,
        *,
        handed: Sequence[Source] = (),
        clock: RealClock | None = None,
        asked: bool = False,
        answerer: Answerer | None = None,
        eyes: Eyes | None = None,
        gates: Builder = build,
    ) -> None:
        check(options)
        self.options, self.clock, self._asked = options, clock or RealClock(), asked
        embed, at_hand = embedder(), available()
        self.taught = opened(options.taught, can_name=at_hand.detect and at_hand.features)
        names = self.taught.recall.names

        def understood(instruction: Instruction) -> Understood:
            return Understood(instruction, understand(instruction.text, embed=embed, abilities=at_hand, taught=names))

        written, told = asked_for(options)
        self.standing = tuple(map(understood, [*written, *told]))
        understandings = [each.understanding for each in self.standing]
        self._needed = looks_at_most(understandings)
        weigh = likeness(embed)
        in_force = Standing(self.standing, options.gate, weigh, self.taught.tastes, gates)
        for each in self.standing:
            in_force.try_out(each)  # now, so that no frame waits for its tags
        answerer = answerer or build_answerer(options.answerer)
        self.questions = Questions(answerer, lambda noun: resolve(noun, embed).labels)
        self.listeners: dict[str, Listener] = {}
        self.sources = list(handed) or self._open_sources()
        try:
            live = any(source.live for source in self.sources)
            self.pace: Pace = options.pace or ("realtime" if live else "fast")
            self.feed = Feed(self.sources, pace=self.pace, fps=options.fps, clock=self.clock)
            self.video = self._open_video()
            if options.listen:
                self.listeners = open_listeners(
                    self.sources,
                    self.questions,
                    lambda event: self.watcher.publish(event),
                    threaded=self.pace == "realtime",
                    now=self.clock.now if self.pace == "realtime" else None,
                )
            self.eyes = eyes or Eyes.open(self._needed, options.threads)
            if self.pace == "realtime":
                self.eyes.warm(looks_for(understandings))  # now, so that no frame waits for it
            self.started = datetime.now().astimezone()  # not before all is loaded: the first picture is of this moment
            self.folder = fresh_folder(options.run, self.sources[0].name, self.started)
            try:
                self.timeline = Timeline.open(options.timeline or self.folder)
                self.recording = Recording.open(self.folder, megabytes=options.recording_mb)
            except BaseException:
                forget(self.folder)
                raise
        except BaseException:
            for listener in self.listeners.values():
                listener.close()
            for source in self.sources:
                source.close()
            raise
        realtime = self.pace == "realtime"
        self._on_event, self._closed = on_event, False
        self.watcher = assemble(
            in_force,
            looker=TaughtEyes(self.eyes, self.taught.recall) if self.taught.recall else self.eyes,
            answerer=answerer,
            timeline=self.timeline,
            memory=Memory(options.memory_mb),
            recording=self.recording,
            threaded=realtime,
            now=self.clock.now if realtime else None,
            started=self.started,
            on_event=self._tell,
            outliner=self.eyes.outlines,
        )
        self.timeline.start(self._info(answerer.models))
        self._amending = Amending(
            LiveFile(
                options.instructions if realtime else None,
                written,
                others=told,
                check=lambda instruction: in_force.try_out(understood(instruction)),
            ),
            in_force,
            self.watcher,
            understand=understood,
            equip=self._equip,
            now=self.clock.now if realtime else None,
            started=self.started,
            source=self._whole,
        )

    def run(self) -> Summary:
        """Watch until the sources end or `stop` is called. Everything told is kept, whatever ends it.

        Raises:
            Refusal: a source turns out to be nothing that can be watched; when nothing was seen, no run is left behind.
        """
        began = time.monotonic()
        try:
            self._read_back()
            self.clock.restart()  # watching starts now; a file at its own pace would lose what plays before
            waits = self.pace == "realtime" and self.options.instructions is not None  # its file may still bring some
            blind = all(each.understanding.cannot for each in self.standing) and not waits and not self._hears
            for item in () if blind else self.feed.items():
                if isinstance(item, SourceNote):
                    self.watcher.note(item)
                else:
                    self._amending.before(item)
                    view = self.watcher.observe(item)
                    self._listen(item, view)
                    if self.video is not None:
                        self.video.see(item, view)
            waited = self.clock.now() if any(source.live for source in self.sources) else 0.0
        except Refusal:
            if not self.watcher.status().frames:
                self.close()
                forget(self.folder)
            raise
        finally:
            self.close()
        status = self.watcher.status()
        drops = {name: dict(counts) for name, counts in self.feed.drops.items()}
        seconds = max(status.time, waited)
        heard = sum((Counter(each.heard) for each in self.listeners.values()), Counter[str]())
        return Summary(self.folder, seconds, time.monotonic() - began, status.said, status, drops, dict(heard))

    def stop(self) -> None:
        """End `run` soon; may be called from another thread."""
        self.feed.close()

    def close(self) -> None:
        """Speak what is pending and let go of everything. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as parts:  # the last one first, and each of them, whatever becomes of the others
            parts.callback(self.timeline.close)
            parts.callback(self.recording.close)
            if self.video is not None:
                parts.callback(self.video.close)
            parts.callback(self.watcher.finish)
            for listener in self.listeners.values():
                parts.callback(listener.close)
            parts.callback(self.feed.close)

    # -- parts ----------------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        if self.video is not None:
            self.video.say(event)
        if self._hears:
            self.questions.told(event)
        self._on_event(event)

    def _listen(self, frame: Frame, view: View) -> None:
        """What was said up to this frame is answered from what was seen up to it."""
        if self._hears:
            self.questions.see(frame, view)
            if (listener := self.listeners.get(frame.source)) is not None:
                listener.until(frame.time)

    def _equip(self, understandings: list[Understanding]) -> dict[str, str]:
        """Have the encoders that these need, and name the parts of all that are in use."""
        self.eyes.warm(looks_at_most(understandings))
        return dict(self.eyes.models)

    def _open_sources(self) -> list[Source]:
        if not self.options.sources:
            raise Refusal(
                "no source", "there is nothing to watch", "give a file, a directory, camera:0, rtsp://… or http(s)://…"
            )
        opened: list[Source] = []
        try:
            for text in self.options.sources:
                taken = {source.name for source in opened}
                opened.append(open_source(text, clock=self.clock, fps=self.options.fps, taken=taken))
        except BaseException:
            for source in opened:
                source.close()
            raise
        return opened

    def _open_video(self) -> AnnotatedVideo | None:
        if self.options.video is None:
            return None
        inputs = [Path(text) for text in self.options.sources if os.path.exists(text)]  # noqa: PTH110 - may be no path at all
        return AnnotatedVideo(self.options.video, [source.name for source in self.sources], inputs=inputs)

    def _read_back(self) -> None:
        """Say how each instruction was understood, and what is off, before anything is watched."""
        for each in self.standing:
            name, understanding = each.instruction.id, each.understanding
            text = understanding.cannot or understanding.read_back
            data = {"text": each.instruction.text, "understanding": understanding.model_dump(mode="json")}
            self.watcher.publish(self._started_event(f"instruction-{name}", EventKind.INSTRUCTION, text, data, name))
        for ability in abilities(self._needed):
            if ability not in self.eyes.off:
                continue
            why = self.eyes.off[ability]
            text = f"Looking for {ability} is off: {why}"
            self.watcher.publish(self._started_event(f"off-{ability}", EventKind.SOURCE, text, {"note": "ability off"}))

    def _started_event(
        self, name: str, kind: EventKind, text: str, data: dict[str, Any], instruction: str | None = None
    ) -> Event:
        return Event(
            id=name,
            kind=kind,
            source=self._whole,
            instruction=instruction,
            t_start=0.0,
            t_end=0.0,
            said_at=0.0,
            text=text,
            data=data,
        )

    @property
    def _hears(self) -> bool:
        """Whether questions may come while it watches."""
        return self._asked or bool(self.listeners)

    @property
    def _whole(self) -> str:
        """The source of what concerns all of them."""
        return self.sources[0].name if len(self.sources) == 1 else ""

    def _info(self, answerer_models: dict[str, str]) -> RunInfo:
        options = self.options
        infos = []
        for text, source in zip(options.sources or [each.name for each in self.sources], self.sources, strict=True):
            path = getattr(source, "path", None)
            if isinstance(path, Path) and path.is_file():
                infos.append(SourceInfo.of_file(source.name, path))
            else:
                infos.append(SourceInfo(name=source.name, address=text, live=source.live))
        arguments = {
            "standing": [
                {
                    "instruction": each.instruction.model_dump(mode="json", by_alias=True),
                    "understanding": each.understanding.model_dump(mode="json"),
                }
                for each in self.standing
            ],
            "answerer": options.answerer or "template",
            "gate": options.gate,
            "fps": options.fps,
            "pace": self.pace,
            "memory_mb": options.memory_mb,
            "taught": self.taught.told(),
        }
        parts = {**self.eyes.models, **answerer_models}
        return RunInfo(sources=tuple(infos), parts=parts, arguments=arguments, started=self.started)
