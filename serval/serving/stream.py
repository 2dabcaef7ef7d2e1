"""One stream of the service: a watch in a thread of its own, and what is told of it while it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from serval.assistant.answers.answer import Answerer
from serval.assistant.event import Event
from serval.assistant.gates import Builder
from serval.assistant.instructions import store
from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.shared_file import replace_text
from serval.assistant.listening.answering import SpokenAnswer
from serval.assistant.station import Status
from serval.assistant.watch_options import WatchOptions
from serval.assistant.watching import Watching
from serval.encoders.eyes import Eyes
from serval.refusal import Refusal
from serval.serving.attention import Attention, SharedAnswerer
from serval.serving.feed import Feed, Told
from serval.sources.clock import RealClock
from serval.sources.pushed import PushedSource

log = logging.getLogger(__name__)

ABOUT, INSTRUCTIONS, RUN = "stream.json", "instructions.yaml", "run"
HANDED = "handed"
"""The source of a stream whose pictures a client hands in."""


Heard = Callable[[str, str, Event], None]


class State(StrEnum):
    OPENING = "opening"
    WATCHING = "watching"
    ENDED = "ended"
    FAILED = "failed"


class About(BaseModel):
    """What is kept of a stream beside its run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    owner: str
    name: str
    source: str  # `HANDED`, or a name of the service's own list
    created: datetime
    state: State = State.OPENING
    why: str = ""  # in one line, for its owner: why it failed


class Stream:
    """See the module.

    Args:
        about: what it is; its folder is made.
        address: what is watched, where it is not handed in.
        attention, answerer, eyes, gates: shared with all other streams.
        news: told whatever is told of this stream, with its owner.
        heard: told every event after it is durable, with whose it is and of which stream.
    """

    def __init__(
        self,
        about: About,
        folder: Path,
        options: WatchOptions,
        address: str | None,
        attention: Attention,
        answerer: Answerer,
        eyes: Eyes,
        gates: Builder,
        news: Feed,
        heard: Heard,
    ) -> None:
        self.about, self.folder, self.feed, self._news = about, folder, Feed(), news
        self._attention, self._address, self._heard = attention, address, heard
        self._answerer, self._eyes, self._gates = answerer, eyes, gates
        self._last: tuple[Status, dict[str, dict[str, int]]] | None = None  # of a watch that is over
        self.source: PushedSource | None = None
        self._options = replace(options, instructions=self.instructions, run=self.run, pace="realtime")
        self._watching: Watching | None = None
        self._stopped = threading.Event()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=f"serval-stream-{about.id}", daemon=True)

    @property
    def instructions(self) -> Path:
        return self.folder / INSTRUCTIONS

    @property
    def run(self) -> Path:
        return self.folder / RUN

    def start(self, texts: tuple[str, ...]) -> None:
        """Note the instructions, and watch. Raises `Refusal` or `OSError` where there is no room for it."""
        self.folder.mkdir(parents=True, mode=0o700)
        store.save(self.instructions, [])
        for text in texts:
            store.add(self.instructions, text)
        self._keep()
        self._become(State.OPENING)
        self._thread.start()

    def push(self, rgb: NDArray[np.uint8]) -> tuple[float, str]:
        """See `PushedSource.push`; "opening" while the watch is not ready."""
        source = self.source
        return source.push(rgb) if source is not None else (0.0, "opening" if not self.over else "closed")

    @property
    def refuses(self) -> str:
        """Why a picture that comes now would be dropped; "" if it would not."""
        source = self.source
        return source.refuses if source is not None else "opening" if not self.over else "closed"

    @property
    def over(self) -> bool:
        return self.about.state in (State.ENDED, State.FAILED)

    def status(self) -> Status | None:
        """What a display shows; None before it watches."""
        watching = self._watching
        return watching.watcher.status() if watching is not None else self._last[0] if self._last else None

    def drops(self) -> dict[str, dict[str, int]]:
        watching = self._watching
        if watching is None:
            return self._last[1] if self._last else {}
        return {name: dict(counts) for name, counts in watching.feed.drops.items()}

    def held(self) -> list[Instruction]:
        return store.load(self.instructions)

    def ask(self, question: str, cancelled: Callable[[], bool] = lambda: False) -> SpokenAnswer | None:
        """Of a watch that goes on, from what it has seen so far; None if it does not: see `ask_run`."""
        watching = self._watching
        return None if watching is None or self.over else watching.questions.answer(question, cancelled)

    def publish(self, event: Event) -> None:
        """Put something that is no observation on the timeline of a watch that goes on."""
        watching = self._watching
        if watching is not None and not self.over:
            watching.watcher.publish(event)

    def flush(self) -> None:
        """Have the pictures that were taken so far on the disk."""
        watching = self._watching
        if watching is not None:
            watching.recording.flush()

    def stop(self, patience: float | None = None) -> None:
        """End it, and wait until all is kept."""
        self._stopped.set()
        with self._guard:
            watching = self._watching
        if watching is not None:
            watching.stop()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(patience)

    def _watch(self) -> None:
        try:
            clock = RealClock()
            handed = () if self._address is not None else (PushedSource(self.about.name, clock),)
            options = replace(self._options, sources=() if handed else (str(self._address),))
            shared = SharedAnswerer(self._answerer, self._attention, self.about.id)
            watching = Watching(
                options,
                self._tell,
                handed=handed,
                clock=clock,
                asked=True,
                answerer=shared,
                eyes=self._eyes,
                gates=self._gates,
            )
            with self._guard:
                self._watching = watching
            if self._stopped.is_set():
                watching.close()
            else:
                self.source = handed[0] if handed else None
                self._become(State.WATCHING)
                watching.run()
            self._become(State.ENDED)
        except Refusal as refusal:
            log.warning("stream %s: %s", self.about.id, refusal)
            self._become(State.FAILED, self._said(refusal))
        except Exception:
            log.exception("stream %s", self.about.id)
            self._become(State.FAILED, "something went wrong on the server")
        finally:
            with self._guard:
                if self._watching is not None:  # let go of all that it holds but its counts
                    self._last = self._watching.watcher.status(), self.drops()
                self._watching = self.source = None
            self._attention.forget(self.about.id)
            self.feed.close()

    def _said(self, refusal: Refusal) -> str:
        """Why it failed, without a path or an address."""
        if refusal.what.startswith((str(self.folder), "postgresql")):  # of its files and its database we have our own words
            return f"what happens cannot be kept: {refusal.why}"
        return "its source cannot be watched"

    def _become(self, state: State, why: str = "") -> None:
        self.about = self.about.model_copy(update={"state": state, "why": why})
        try:
            self._keep()
        except Refusal as refusal:  # who listens is told all the same
            log.warning("stream %s: its state is not kept: %s", self.about.id, refusal)
        self._pass({"type": "serval.stream", "stream": self.about.id, "state": state, **({"why": why} if why else {})})

    def _keep(self) -> None:
        replace_text(self.folder / ABOUT, self.about.model_dump_json(indent=1) + "\n")

    def _tell(self, event: Event) -> None:
        self._heard(self.about.owner, self.about.id, event)
        self._pass(told(self.about.id, event))

    def _pass(self, told: Told) -> None:
        self.feed.tell(told)
        self._news.tell({**told, "owner": self.about.owner})


def told(stream: str, event: Event) -> dict[str, Any]:
    """An event as readers get it."""
    return {"type": f"serval.{event.kind}", "stream": stream, "event": event.model_dump(mode="json")}
