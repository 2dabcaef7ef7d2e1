"""One realtime socket: its messages to the session, the session's effects to wherever they belong."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from serval.assistant.event import Event, EventKind
from serval.refusal import Refusal
from serval.serving.keys import Person
from serval.serving.limits import Limits
from serval.serving.problems import Problem
from serval.serving.realtime import effects as does
from serval.serving.realtime.answers import Answers
from serval.serving.realtime.hearing import Ears, Voice
from serval.serving.realtime.protocol import Request
from serval.serving.realtime.requests import Requests, problem_told
from serval.serving.realtime.session import Session
from serval.serving.realtime.told import own
from serval.serving.realtime.work import Lane, Work
from serval.serving.service import Service
from serval.serving.stream import HANDED, Stream

log = logging.getLogger(__name__)

_LARGE = 64 * 1024  # characters of a message that is worked on beside the loop
_GATES = 0.5  # seconds between two looks at the gates' scores
_REQUESTS = 8  # that may wait

Handled = Callable[[float], list[does.Effect]]


class _Gone(Exception):  # noqa: N818 - an outcome, not a fault
    """The client went away, or takes nothing."""


@dataclass(frozen=True)
class _Post:
    """Something to be done with the session; ``large`` is done beside the loop, which waits for nothing else meanwhile."""

    handled: Handled
    done: asyncio.Event | None = None
    large: bool = False


class Line:
    """See the module. Everything about the session happens in one task; what takes long, elsewhere.

    Args:
        limits: of the service. A client who takes nothing for its ``idle`` seconds is given up.
    """

    def __init__(
        self,
        socket: WebSocket,
        served: Service,
        person: Person,
        session: Session,
        *,
        answers: Answers,
        ears: Ears,
        voice: Voice | None,
        limits: Limits,
    ) -> None:
        self._socket, self._served, self._person, self._session = socket, served, person, session
        self._loop, self._within = asyncio.get_running_loop(), limits.idle
        self._inbox: asyncio.Queue[_Post] = asyncio.Queue()
        self._asked: asyncio.Queue[Request] = asyncio.Queue(_REQUESTS)
        self._events = limits.events
        self._requests = Requests(served, person, self._joined)
        self._work = Work(session, answers, ears, voice, self._post, lambda: self._requests.stream)
        self._records = Lane("serval-record")
        self._tasks: set[asyncio.Task[None]] = set()
        self._feed: asyncio.Task[None] | None = None
        self._gates: asyncio.Task[None] | None = None
        self._decoding = self._opening = self._over = False

    async def run(self) -> None:
        """Until either side has enough."""
        try:
            await self._follow(self._session.start(self._loop.time()))
            self._start(self._receive())
            self._start(self._serve())
            while not self._over:
                await self._next()
        except _Gone:
            log.debug("a session's client is gone, or takes nothing any more")
        except Exception:
            log.exception("a session failed")
            await self._close(1011, "something went wrong on the server")
        finally:
            self._over = True
            self._work.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._records.put(self._requests.close)  # after what is still to be recorded

    async def _next(self) -> None:
        """Do what comes next, or what is due."""
        try:
            wait = self._session.next_due() - self._loop.time()
            post = await asyncio.wait_for(self._inbox.get(), max(0.001, wait))
        except TimeoutError:
            post = _Post(self._session.tick)
        try:
            now = self._loop.time()
            await self._follow(await run_in_threadpool(post.handled, now) if post.large else post.handled(now))
        finally:
            if post.done is not None:
                post.done.set()

    # -- what comes in ------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while not self._over:
            try:
                message = await self._socket.receive()
            except RuntimeError:
                message = {"type": "websocket.disconnect"}
            if message["type"] == "websocket.disconnect":
                self._over = True
                await self._offer(lambda now: [])
                return
            text, data = message.get("text"), message.get("bytes")
            if data is not None:
                await self._offer(partial(self._frame, data))
            elif text is not None:
                await self._offer(partial(self._session.receive, text), large=len(text) > _LARGE)

    async def _offer(self, handled: Handled, *, large: bool = False) -> None:
        """Have it done in its turn, and wait until it is: whoever sends too fast is not read."""
        done = asyncio.Event()
        self._inbox.put_nowait(_Post(handled, done, large))
        await done.wait()

    def _post(self, method: Callable[..., list[does.Effect]], *given: Any) -> None:
        """From any thread: have a method of the session called."""

        def handled(now: float) -> list[does.Effect]:
            return method(self._session, *given, now)

        try:
            self._loop.call_soon_threadsafe(self._inbox.put_nowait, _Post(handled))
        except RuntimeError:  # the service has ended
            self._work.close()

    # -- pictures -----------------------------------------------------------------------------------------------------

    def _frame(self, data: bytes, now: float) -> list[does.Effect]:
        """A picture is decoded and watched, or dropped with a reason: it never waits."""
        self._session.alive(now)
        stream = self._requests.stream
        if self._decoding:
            return self._dropped("busy", now)
        if stream is None:
            if not self._opening:
                self._opening = True
                self._start(self._open())
            return self._dropped("opening", now)
        if stream.about.source != HANDED:
            return self._dropped("this stream has a source of its own", now)
        if stream.refuses:
            return self._dropped(stream.refuses, now)
        self._decoding = True
        self._start(self._decode(stream, data))
        return []

    async def _decode(self, stream: Stream, data: bytes) -> None:
        try:
            rgb = await run_in_threadpool(self._served.decoder.picture, data)
            _, why = stream.push(rgb)
        except Refusal as refusal:
            why = refusal.why
        finally:
            self._decoding = False
        if why:
            await self._offer(partial(self._dropped, why))

    async def _open(self) -> None:
        try:
            await run_in_threadpool(self._requests.opened)
        except Problem as problem:
            await self._offer(partial(self._session.tell, problem_told(problem)))
        finally:
            self._opening = False

    def _dropped(self, why: str, now: float) -> list[does.Effect]:
        return self._session.tell(own("frame.dropped", {"reason": why}), now)

    # -- the stream ---------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Requests of the hub, in their order."""
        while not self._over:
            request = await self._asked.get()
            told = await run_in_threadpool(self._requests.do, request)
            await self._offer(partial(self._session.tell, told))

    def _joined(self, stream: Stream, own_one: bool) -> None:
        """Called from a thread of the hub's."""

        def follow() -> None:
            if self._feed is not None:
                self._feed.cancel()
            if not self._over:
                self._feed = self._start(self._news(stream))

        self._post(Session.tell, own("joined", {"stream": stream.about.id, "own": own_one}))
        self._loop.call_soon_threadsafe(follow)

    async def _news(self, stream: Stream) -> None:
        reader = stream.feed.reader(self._events)
        try:
            async for told in reader:
                name = (told.get("event") or {}).get("instruction")
                urgency = await run_in_threadpool(_priority, stream, name) if name else 0
                await self._offer(partial(self._session.told, told, urgency=urgency))
        finally:
            stream.feed.leave(reader)

    async def _scores(self) -> None:
        """The gates' scores, whenever the watch has gone on."""
        seen = -1.0
        while not self._over:
            stream = self._requests.stream
            status = stream.status() if stream is not None else None
            if stream is not None and status is not None and status.time != seen:
                seen = status.time
                fields = {
                    "stream": stream.about.id,
                    "time": status.time,
                    "scores": {name.partition("/")[2]: list(scores) for name, scores in status.scores.items()},
                    "drops": stream.drops(),
                }
                await self._offer(partial(self._session.tell, own("gates", fields)))
            await asyncio.sleep(_GATES)

    # -- what goes out ------------------------------------------------------------------------------------------------

    async def _follow(self, wanted: list[does.Effect]) -> None:
        for each in wanted:
            match each:
                case does.Send(event):
                    await self._send(event.model_dump_json())
                case does.Answer():
                    self._work.answer(each)
                case does.Speak():
                    self._work.speak(each)
                case does.Cancel(response):
                    self._work.over(response)
                case does.Transcribe():
                    self._work.transcribe(each)
                case does.Record():
                    self._record(each)
                case does.Ask(request):
                    if self._asked.full():
                        busy = problem_told(Problem(429, "too many requests wait; wait for an answer"), request.event_id)
                        await self._follow(self._session.tell(busy, self._loop.time()))
                    else:
                        self._asked.put_nowait(request)
                case does.Gates(on):
                    if self._gates is not None:
                        self._gates.cancel()
                    self._gates = self._start(self._scores()) if on else None
                case does.Close(code, reason):
                    await self._close(code, reason)

    async def _send(self, text: str) -> None:
        try:
            await asyncio.wait_for(self._socket.send_text(text), self._within)
        except (WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
            raise _Gone from None

    async def _close(self, code: int, reason: str) -> None:
        self._over = True
        try:
            await asyncio.wait_for(self._socket.close(code, reason), self._within)
        except (RuntimeError, OSError, TimeoutError, WebSocketDisconnect):
            log.debug("a socket was closed already")

    def _record(self, record: does.Record) -> None:
        """On the timeline, beside the loop: it is written to disk."""
        stream = self._requests.stream
        status = stream.status() if stream is not None else None
        if stream is None or status is None:
            return
        event = Event(
            id=f"{record.kind}-{secrets.token_hex(6)}",
            kind=EventKind.ANSWER if record.kind == "answer" else EventKind.SOURCE,
            source=stream.about.name,
            t_start=status.time,
            t_end=status.time,
            said_at=status.time,
            text=record.text,
            data=record.data,
        )
        self._records.put(partial(stream.publish, event))

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A session goes on without none of its tasks."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:

            def fail(now: float) -> list[does.Effect]:
                raise error

            self._inbox.put_nowait(_Post(fail))


def _priority(stream: Stream, name: str) -> int:
    """How urgent an instruction is."""
    try:
        return next((each.priority for each in stream.held() if each.id == name), 0)
    except Refusal:
        return 0
