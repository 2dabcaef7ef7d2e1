"""`/v1/timeline`, `/v1/why`, `/v1/ask`, `/v1/pictures`: what happened, why, and questions about it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from serval.assistant.ask.answering import Reply
from serval.assistant.ask.asking import ask_run
from serval.assistant.event import Event, EventKind, Evidence
from serval.assistant.timeline.export.formats import export
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.timeline.why import why as explain
from serval.refusal import Refusal
from serval.serving.keys import Person
from serval.serving.problems import Problem
from serval.serving.service import Asker, Served, Service, Watcher
from serval.serving.stream import RUN

router = APIRouter(prefix="/v1", tags=["timeline"])

Of = Annotated[str, Query(description="the stream's id")]
Moment = Annotated[float | None, Query(ge=0, description="seconds on the stream's clock")]
_KINDS = {"srt": "application/x-subrip", "vtt": "text/vtt", "jsonl": "application/jsonl", "html": "text/html"}


class Question(BaseModel):
    """A question about a stream's present or past."""

    model_config = ConfigDict(extra="forbid")

    stream: str
    question: Annotated[str, Field(min_length=1, max_length=500)]


class Answered(BaseModel):
    """An answer with what it rests on."""

    text: str
    known: bool = Field(description="whether the record holds it")
    evidence: list[Evidence]
    unverified: str = Field("", description="what a model added that no fact holds")


class Seen(BaseModel):
    """What a gate saw for an instruction around a moment."""

    source: str
    instruction: str | None
    gate: str
    time: float
    score: float
    threshold: float
    action: str
    why: str
    outcome: str


class Explained(BaseModel):
    """Why Serval spoke at a moment, or did not."""

    text: str
    said: list[Event]
    moments: list[Seen]


@router.get("/timeline")
def timeline(
    served: Served,
    person: Watcher,
    stream: Of,
    since: Moment = None,
    until: Moment = None,
    kind: EventKind | None = None,
    instruction: Annotated[str | None, Query(max_length=64)] = None,
    text: Annotated[str | None, Query(max_length=200, description="words that were said, seen or read")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[Event]:
    """The newest events that fit, in the order they were said."""
    with _opened(served, person, stream) as found:
        newest = found.events(
            since=since, until=until, kind=kind, instruction=instruction, text=text, limit=limit, newest_first=True
        )
        return list(newest)[::-1]


@router.get("/timeline/export", response_class=Response)
def exported(served: Served, person: Watcher, stream: Of, to: Literal["srt", "vtt", "jsonl", "html"]) -> Response:
    """The whole timeline: as captions, JSON Lines, or a page of its own with pictures."""
    _opened(served, person, stream).close()
    where = served.hub.timeline(person, stream)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        export(where, to, path)
        content = path.read_bytes()
    headers = {"Content-Disposition": f'attachment; filename="timeline.{to}"'}
    return Response(content, media_type=f"{_KINDS[to]}; charset=utf-8", headers=headers)


@router.get("/why")
def why(
    served: Served,
    person: Watcher,
    stream: Of,
    time: Annotated[float, Query(ge=0)],
    instruction: Annotated[str | None, Query(max_length=64)] = None,
) -> Explained:
    """What the gates saw at a moment, what they needed, and the nearest words."""
    with _opened(served, person, stream) as found:
        try:
            explained = explain(found, time, None, instruction)
        except Refusal:
            raise Problem(404, "nothing is known of such an instruction", "instruction") from None
    moments = []
    for each in explained.moments:
        fields = {name: getattr(each.peak, name) for name in ("source", "instruction", "gate", "time", "score", "threshold")}
        moments.append(Seen(**fields, action=str(each.peak.action), why=each.peak.why, outcome=each.outcome))
    return Explained(text=explained.text, said=list(explained.said), moments=moments)


@router.post("/ask")
def ask(served: Served, person: Asker, asked: Question) -> Answered:
    """Answer from what was seen: so far, of a stream that goes on; of all of it, of one that is over."""
    folder = served.hub.folder(person, asked.stream)
    alive = served.hub.alive(asked.stream)
    spoken = alive.ask(asked.question) if alive is not None else None
    if spoken is not None:
        return _answered(spoken.reply, spoken.unverified)
    try:
        where = served.hub.timeline(person, asked.stream)
        return _answered(ask_run(folder / RUN, asked.question, where if isinstance(where, str) else None))
    except Refusal:
        raise Problem(409, "nothing was seen yet") from None


@router.get("/pictures/{sha256}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
def picture(served: Served, person: Watcher, stream: Of, sha256: str) -> Response:
    """The picture that evidence names, as it was kept: a JPEG."""
    folder = served.hub.folder(person, stream) / RUN
    if (alive := served.hub.alive(stream)) is not None:
        alive.flush()
    try:
        with Recording.open(folder, write=False) as recording:
            found = recording.picture_named(sha256)
    except Refusal:
        found = None
    if found is None:
        raise Problem(404, "this picture is not kept")
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(found.jpeg, media_type="image/jpeg", headers=headers)


def _opened(served: Service, person: Person, stream: str) -> Timeline:
    where = served.hub.timeline(person, stream)
    try:
        return Timeline.open(where, write=False)
    except Refusal:
        raise Problem(409, "nothing was seen yet") from None


def _answered(reply: Reply, unverified: str = "") -> Answered:
    return Answered(text=reply.text, known=reply.known, evidence=list(reply.evidence), unverified=unverified)
