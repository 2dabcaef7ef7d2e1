"""`/v1/streams`: what is watched. A stream is opened, gets its pictures, is stopped, and is kept until it is removed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from serval.refusal import Refusal
from serval.serving.hub import Hub
from serval.serving.problems import Problem
from serval.serving.service import Instructor, Served, Watcher
from serval.serving.stream import HANDED, About, State

router = APIRouter(prefix="/v1/streams", tags=["streams"])

_PICTURES: dict[str, Any] = {f"image/{each}": {} for each in ("jpeg", "webp", "png")}
Words = Annotated[str, Field(min_length=1, max_length=500, description="An instruction in plain words.")]


class NewStream(BaseModel):
    """A stream to open. Its pictures are handed in, or come from a source that the service's owner gave a name."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[\w-]{1,40}$")] = "camera"
    source: Annotated[str, Field(max_length=80)] = HANDED
    instructions: list[Words] = []


class StreamView(BaseModel):
    """A stream, and how it goes."""

    id: str
    name: str
    source: str
    state: State
    why: str = ""  # in one line, of a stream that failed
    created: datetime
    seconds: float = 0.0
    frames: int = 0
    looked: int = 0
    said: int = 0
    memory_bytes: int = 0
    waiting: int = Field(0, description="wakes that wait for their words")
    scores: dict[str, list[float]] = Field({}, description="instruction -> its gate's last scores")
    drops: dict[str, int] = Field({}, description="why pictures were not used -> how many")


class Sources(BaseModel):
    """Names that a stream's source may have."""

    sources: list[str]


class Pushed(BaseModel):
    """What became of a picture that was handed in. One that cannot be used now is dropped, never queued."""

    time: float = Field(description="seconds on the stream's clock")
    dropped: str = Field(description="why it was: busy, opening, closed; or nothing")


@router.get("/sources")
def sources(served: Served, person: Watcher) -> Sources:
    """What can be watched besides pictures that are handed in."""
    return Sources(sources=[HANDED, *served.options.sources])


@router.get("")
def listed(served: Served, person: Watcher) -> list[StreamView]:
    """Your streams, the newest first."""
    return [_view(served.hub, about) for about in served.hub.seen_by(person)]


@router.post("", status_code=201)
def opened(served: Served, person: Instructor, wanted: NewStream) -> StreamView:
    """Open a stream, which begins to watch within seconds."""
    return _view(served.hub, served.hub.open(person, wanted.name, wanted.source, wanted.instructions).about)


@router.get("/{stream}")
def shown(served: Served, person: Watcher, stream: str) -> StreamView:
    """One stream, with its gates' last scores."""
    return _view(served.hub, served.hub.about(person, stream))


@router.post("/{stream}/stop")
def stopped(served: Served, person: Instructor, stream: str) -> StreamView:
    """End a stream; its timeline stays."""
    found = served.hub.stream(person, stream)
    found.stop(30.0)
    return _view(served.hub, found.about)


@router.delete("/{stream}", status_code=204)
def removed(served: Served, person: Instructor, stream: str) -> Response:
    """End a stream and forget all of it: timeline, recording, instructions."""
    served.hub.remove(person, stream)
    return Response(status_code=204)


@router.post("/{stream}/frames", openapi_extra={"requestBody": {"content": _PICTURES}})
async def handed(served: Served, person: Instructor, stream: str, request: Request) -> Pushed:
    """Hand in one picture: JPEG, WebP or PNG as the body."""
    found = served.hub.stream(person, stream)
    if found.about.source != HANDED:
        raise Problem(409, "this stream has a source of its own")
    if found.refuses:  # before its body is read or decoded
        return Pushed(time=0.0, dropped=found.refuses)
    data = await request.body()
    try:
        rgb = await run_in_threadpool(served.decoder.picture, data)
    except Refusal as refusal:
        raise Problem(400, f"the picture: {refusal.why}") from None
    when, dropped = found.push(rgb)
    return Pushed(time=when, dropped=dropped)


def _view(hub: Hub, about: About) -> StreamView:
    fields: dict[str, Any] = {"id": about.id, "name": about.name, "source": about.source, "created": about.created}
    stream = hub.alive(about.id)
    status = stream.status() if stream is not None else None
    if stream is not None and status is not None:
        drops: dict[str, int] = {}
        for counts in stream.drops().values():
            for why, count in counts.items():
                drops[why] = drops.get(why, 0) + count
        fields |= {
            "seconds": status.time,
            "frames": sum(status.frames.values()),
            "looked": sum(status.looked.values()),
            "said": status.said,
            "memory_bytes": status.memory_bytes,
            "waiting": status.waiting,
            "scores": {name.partition("/")[2]: list(scores) for name, scores in status.scores.items()},
            "drops": drops,
        }
    return StreamView(state=about.state, why=about.why, **fields)
