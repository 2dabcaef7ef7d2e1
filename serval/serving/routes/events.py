"""`/v1/events`: what happens, as it happens, by Server-Sent Events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from serval.serving.keys import Scope
from serval.serving.problems import Problem
from serval.serving.service import Served, Watcher

router = APIRouter(prefix="/v1", tags=["timeline"])

_BEAT = 15.0  # seconds of nothing after which a comment shows that the line is alive


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    served: Served, person: Watcher, stream: Annotated[str | None, Query(description="only this stream")] = None
) -> StreamingResponse:
    """Everything that is told of your streams from now on. A reader who is too slow is told how much he missed."""
    if stream is not None:
        served.hub.about(person, stream)
    if served.door is None or served.door.feeds.full(person.id):
        raise Problem(429, "too many feeds are open")

    async def lines() -> AsyncIterator[str]:
        assert served.door is not None
        reader = served.hub.news.reader(served.options.limits.events)
        with served.door.feeds.place(person.id) as free:
            try:
                yield ": serval\n\n"
                while free and not reader.over:
                    told = await reader.next(_BEAT)
                    if told is None:
                        if not reader.over:
                            yield ": still here\n\n"
                        continue
                    owner = told.get("owner", person.id)
                    if (owner == person.id or Scope.ADMIN in person.scopes) and stream in (None, told.get("stream")):
                        number = told["event"]["id"] if "event" in told else ""
                        yield f"id: {number}\nevent: {told['type']}\ndata: {json.dumps(told)}\n\n"
            finally:
                served.hub.news.leave(reader)

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
