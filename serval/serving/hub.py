"""All streams of the service: who has which, how many there may be, and what is kept of those that are over."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from serval.assistant.answers.answer import Answerer
from serval.assistant.answers.build import build_answerer
from serval.assistant.event import Event
from serval.assistant.gates import Builder, build, is_taught
from serval.assistant.instructions.understand import understand
from serval.assistant.timeline.database import drop_postgresql
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.watch_options import WatchOptions
from serval.encoders.eyes import Eyes
from serval.encoders.percept import Looks
from serval.refusal import Refusal
from serval.serving.attention import Attention
from serval.serving.feed import Feed
from serval.serving.keys import Person, Scope
from serval.serving.options import ServeOptions
from serval.serving.problems import Problem
from serval.serving.ray_answerer import RayAnswerer
from serval.serving.ray_cluster import RayCluster
from serval.serving.ray_gates import RayGates
from serval.serving.stream import ABOUT, HANDED, RUN, About, Heard, State, Stream

log = logging.getLogger(__name__)

_EXAMPLE = "tell me when a person comes into view"  # a gate that cannot be opened for it is refused at once


class Hub:
    """Every look-up asks who wants to know: what belongs to somebody else is not there, and neither is what never was."""

    def __init__(self, options: ServeOptions, heard: Heard = lambda owner, stream, event: None) -> None:
        self.options, self._heard = options, heard
        self.attention = Attention(options.answers)
        self._cluster = None if options.ray is None else RayCluster(options.ray)
        self._answerer, self._gates = _workers(options, self._cluster)  # one for all streams, and so are the eyes
        self._eyes = Eyes.open(Looks())
        self.news = Feed()  # of all streams; readers sort out what is theirs
        self._guard = threading.Lock()
        self._streams: dict[str, Stream] = {}
        self._folder = options.folder / "streams"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._old = self._found()

    def open(self, person: Person, name: str, source: str = HANDED, instructions: Sequence[str] = ()) -> Stream:
        """A new stream, which begins to watch.

        Raises:
            Problem: too many, no such source, or no room on the disk.
        """
        limits, known = self.options.limits, self.options.sources
        if source != HANDED and source not in known:
            raise Problem(404, "there is no source of this name; its owner gives them to the service", "source")
        if len(instructions) > limits.instructions:
            raise Problem(400, f"a stream has at most {limits.instructions} instructions", "instructions")
        about = About(id=secrets.token_hex(8), owner=person.id, name=name, source=source, created=datetime.now().astimezone())
        with self._guard:
            alive = [each.about.owner for each in self._streams.values() if not each.over]
            if alive.count(person.id) >= limits.streams or len(alive) >= limits.all_streams:
                raise Problem(429, "too many streams are open; stop one first")
            options = WatchOptions(
                sources=(),
                answerer=self.options.answerer,
                gate=self.options.gate,
                fps=self.options.fps,
                memory_mb=self.options.memory_mb,
                timeline=self._address(about.id),
                recording_mb=self.options.recording_mb,
            )
            stream = Stream(
                about,
                self._folder / about.id,
                options,
                known.get(source),
                self.attention,
                self._answerer,
                self._eyes,
                self._gates,
                self.news,
                self._heard,
            )
            self._streams[about.id] = stream
        self._make_room(person.id)
        try:
            stream.start(tuple(instructions))
        except BaseException as error:
            with self._guard:
                del self._streams[about.id]
            shutil.rmtree(stream.folder, ignore_errors=True)
            if isinstance(error, OSError) or (isinstance(error, Refusal) and error.what.startswith(str(stream.folder))):
                log.error("a stream cannot be kept: %s", error)
                raise Problem(503, "the server cannot keep another stream now") from None
            raise
        return stream

    def seen_by(self, person: Person) -> list[About]:
        """Those that this person may see, the newest first."""
        with self._guard:
            found = [*(each.about for each in self._streams.values()), *self._old.values()]
        return sorted(filter(lambda each: _sees(person, each), found), key=lambda each: each.created, reverse=True)

    def about(self, person: Person, number: str) -> About:
        """Raises `Problem` where there is none that this person may see."""
        with self._guard:
            found = self._streams[number].about if number in self._streams else self._old.get(number)
        if found is None or not _sees(person, found):
            raise Problem(404, "there is no such stream")
        return found

    def stream(self, person: Person, number: str) -> Stream:
        """One that was opened since the service began. Raises `Problem` as `about`, and for an older one."""
        self.about(person, number)
        with self._guard:
            found = self._streams.get(number)
        if found is None:
            raise Problem(409, "this stream is over")
        return found

    def opened(self) -> list[Stream]:
        """All that were opened since the service began, and are not removed."""
        with self._guard:
            return list(self._streams.values())

    def alive(self, number: str) -> Stream | None:
        with self._guard:
            return self._streams.get(number)

    def folder(self, person: Person, number: str) -> Path:
        """Where a stream's instructions and run are kept."""
        return self._folder / self.about(person, number).id

    def timeline(self, person: Person, number: str) -> Path | str:
        """Where a stream's events are: its run's folder, or an address. Raises `Problem` as `about`."""
        folder = self.folder(person, number)
        return self._address(number) or folder / RUN

    def _address(self, number: str) -> str | None:
        if self.options.timeline is None:
            return None
        return f"{self.options.timeline}{'&' if '?' in self.options.timeline else '?'}run=s_{number}"

    def remove(self, person: Person, number: str) -> None:
        """Stop a stream, and forget all of it."""
        folder = self.folder(person, number)
        with self._guard:
            stream = self._streams.get(number)
        if stream is not None:
            stream.stop()
        with self._guard:
            self._streams.pop(number, None)
            self._old.pop(number, None)
        self._forget(folder)

    def past(self, most: int = 1000) -> Iterator[tuple[About, datetime, Event]]:
        """The newest events of streams that earlier services have kept, and when their watch began."""
        with self._guard:
            old = list(self._old.values())
        for about in old:
            try:
                with Timeline.open(self._address(about.id) or self._folder / about.id / RUN, write=False) as timeline:
                    started = timeline.info.started if timeline.info else about.created
                    for event in reversed(list(timeline.events(limit=most, newest_first=True))):
                        yield about, started, event
            except Refusal:  # it never watched
                continue

    def close(self) -> None:
        """Stop all of them; what was told is kept."""
        with self._guard:
            streams = list(self._streams.values())
        for stream in streams:
            stream.stop(30.0)
        self.news.close()
        if self._cluster is not None:
            self._cluster.close()

    def _make_room(self, owner: str) -> None:
        """Of what is over, a person keeps so much; the oldest goes."""
        with self._guard:
            over = [each.about for each in self._streams.values() if each.over] + list(self._old.values())
            mine = sorted((each for each in over if each.owner == owner), key=lambda each: each.created)
            gone = mine[: max(0, len(mine) - self.options.kept)]
            for each in gone:
                self._streams.pop(each.id, None)
                self._old.pop(each.id, None)
        for each in gone:
            self._forget(self._folder / each.id)

    def _forget(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if (address := self._address(folder.name)) is not None:
            try:
                drop_postgresql(address)
            except Refusal as refusal:
                log.warning("%s", refusal)

    def _found(self) -> dict[str, About]:
        """What earlier services have kept."""
        found = {}
        for path in self._folder.glob(f"*/{ABOUT}"):
            try:
                about = About.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                log.warning("%s cannot be read and is left alone", path)
                continue
            if about.id == path.parent.name:
                found[about.id] = about.model_copy(update={"state": State.ENDED}) if about.state != State.FAILED else about
        return found


def _workers(options: ServeOptions, cluster: RayCluster | None) -> tuple[Answerer, Builder]:
    if cluster is None:
        answerer: Answerer = build_answerer(options.answerer)
        gates: Builder = build
    else:
        answerer = RayAnswerer(cluster, options.answerer, options.answers)
        gates = RayGates(cluster, options.answers) if is_taught(options.gate) else build
    if options.gate not in (None, "likeness"):  # that one is made of the words that it is for
        gates(options.gate, understand(_EXAMPLE), text=_EXAMPLE)
    return answerer, gates


def _sees(person: Person, about: About) -> bool:
    return about.owner == person.id or Scope.ADMIN in person.scopes
