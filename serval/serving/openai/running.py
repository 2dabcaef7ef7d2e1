"""Work in a thread of its own, whose results come to a route as they are made, and which ends when nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Work = Callable[[Callable[[], bool], Callable[[Result], None]], None]
GONE = 499  # a status for a client who went away: nobody reads it
_END = object()


class ClientGone(Exception):  # noqa: N818 - an outcome, not a fault
    """Nobody waits for the answer any more."""


class Running(Generic[Result]):
    """Work that tells its results. What waits for a reader is bounded by what the work makes: see its ``max_tokens``.

    Args:
        work: called in the thread with what asks whether to stop, and what takes a result.
        done: called in the loop when the thread has ended, whether or not anybody still waits.
    """

    def __init__(self, work: Work[Result], done: Callable[[], None] = lambda: None) -> None:
        self._loop, self._came = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._stopped = threading.Event()

        def run() -> None:
            try:
                work(self._stopped.is_set, self._put)
                self._put(_END)
            except BaseException as error:  # whatever it is, it belongs to whoever waits
                self._put(error)
            finally:
                self._call(done)

        self._thread = threading.Thread(target=run, name="serval-reply", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nobody wants it any more."""
        self._stopped.set()

    async def next(self) -> Result | None:
        """What comes next; None at the end. Raises whatever the work raised."""
        came = await self._came.get()
        if isinstance(came, BaseException):
            raise came
        if came is _END:
            return None
        result: Result = came
        return result

    async def __aiter__(self) -> AsyncIterator[Result]:
        while (came := await self.next()) is not None:
            yield came

    async def next_for(self, request: Request) -> Result | None:
        """As `next`, but the work is stopped when the client goes away. Raises `ClientGone` then."""
        coming, leaving = asyncio.ensure_future(self.next()), asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((coming, leaving), return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
            raise ClientGone
        except BaseException:
            self.stop()
            raise
        finally:
            coming.cancel()
            leaving.cancel()

    async def all_for(self, request: Request) -> list[Result]:
        """Everything, for a client who waits. Raises as `next_for`."""
        found = []
        while (came := await self.next_for(request)) is not None:
            found.append(came)
        return found

    def _put(self, result: object) -> None:
        self._call(self._came.put_nowait, result)

    def _call(self, what: Callable[..., None], *given: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *given)
        except RuntimeError:  # the service has ended
            self._stopped.set()


class Streamed(StreamingResponse):
    """Server-Sent Events, or bytes of another kind, made of work that stops with the response, however that ends."""

    def __init__(
        self, running: Running[Any], lines: AsyncIterator[str] | AsyncIterator[bytes], kind: str = "text/event-stream"
    ) -> None:
        super().__init__(lines, media_type=kind, headers={"Cache-Control": "no-store"})
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._running.stop()


def line(content: object, event: str = "") -> str:
    """One event."""
    text = content if isinstance(content, str) else json.dumps(content)
    return f"event: {event}\ndata: {text}\n\n" if event else f"data: {text}\n\n"


async def _left(request: Request) -> None:
    """Until the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
