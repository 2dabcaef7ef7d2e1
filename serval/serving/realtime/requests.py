"""Serval's own requests of a session: its stream, what that is watched for, and what happened in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from serval.assistant.instructions import store
from serval.refusal import Refusal
from serval.serving.keys import Person, Scope
from serval.serving.problems import Problem
from serval.serving.realtime import protocol as asked
from serval.serving.realtime.told import Error, ErrorTold, ServerEvent, own
from serval.serving.routes import instructions, timeline
from serval.serving.service import Service
from serval.serving.stream import HANDED, Stream
from serval.weights import PartMissing

log = logging.getLogger(__name__)

_NAME = "realtime"  # of the streams that sessions open
_NEEDS: dict[type, Scope] = {
    asked.Attach: Scope.WATCH,
    asked.InstructionAdd: Scope.INSTRUCT,
    asked.InstructionList: Scope.WATCH,
    asked.InstructionRemove: Scope.INSTRUCT,
    asked.TimelineQuery: Scope.WATCH,
    asked.Why: Scope.WATCH,
}


class Requests:
    """See the module. Its methods wait for the hub: they are called outside the loop, one at a time.

    Args:
        joined: told of the stream that the session has from now on, and whether it is its own.
    """

    def __init__(self, served: Service, person: Person, joined: Callable[[Stream, bool], None]) -> None:
        self._served, self._person, self._joined = served, person, joined
        self.stream: Stream | None = None
        self.own = self._closed = False
        self._guard = threading.Lock()

    def do(self, request: asked.Request) -> ServerEvent:
        """What the client is told about it."""
        try:
            if not self._person.may(_NEEDS[type(request)]):
                raise Problem(403, f"this key may not do that: it needs the scope {_NEEDS[type(request)]}")
            return self._done(request)
        except Problem as problem:
            return problem_told(problem, request.event_id)
        except (Refusal, PartMissing) as refusal:
            log.info("refused: %s", refusal)
            return problem_told(Problem(400, "this cannot be done as it was asked"), request.event_id)
        except Exception:
            log.exception("a request of a session failed")
            return problem_told(Problem(500, "something went wrong on the server"), request.event_id)

    def opened(self, texts: Sequence[str] = ()) -> Stream:
        """The session's stream; a new one of its own, where there is none. Raises `Problem`."""
        if self.stream is None:
            if not self._person.may(Scope.INSTRUCT):
                raise Problem(403, f"this key may open no stream: it needs the scope {Scope.INSTRUCT}")
            self._join(self._served.hub.open(self._person, _NAME, HANDED, texts), own_one=True)
        assert self.stream is not None
        return self.stream

    def close(self) -> None:
        """A stream of the session's own ends with it; what happened in it is kept."""
        with self._guard:
            self._closed = True
        if self.own and self.stream is not None:
            self.stream.stop(30.0)

    def _join(self, stream: Stream, own_one: bool) -> None:
        with self._guard:
            left = self.stream if self.own else None
            over = self._closed  # it ended while the stream was opened
            if not over:
                self.stream, self.own = stream, own_one
        if over and own_one:
            stream.stop(30.0)
        if over:
            raise Problem(409, "the session is over")
        self._joined(stream, own_one)
        if left is not None:
            left.stop(30.0)

    def _done(self, request: asked.Request) -> ServerEvent:
        served, person = self._served, self._person
        if isinstance(request, asked.Attach):
            self._join(served.hub.stream(person, request.stream), own_one=False)
            return self._answer("attached", request, source=self._id and served.hub.about(person, self._id).source)
        if isinstance(request, asked.InstructionAdd):
            return self._answer("instruction.added", request, instruction=self._added(request))
        if self.stream is None:
            raise Problem(409, "the session has no stream yet: send a picture, add an instruction, or attach to one")
        if isinstance(request, asked.InstructionList):
            return self._answer("instruction.listed", request, instructions=instructions.listed(served, person, self._id))
        if isinstance(request, asked.InstructionRemove):
            instructions.removed(served, person, self._id, request.instruction)
            return self._answer("instruction.removed", request, instruction=request.instruction)
        if isinstance(request, asked.TimelineQuery):
            fields = request.model_dump(exclude={"type", "event_id"})
            return self._answer("timeline", request, events=timeline.timeline(served, person, self._id, **fields))
        return self._answer("why", request, explained=timeline.why(served, person, self._id, request.time, request.instruction))

    def _added(self, request: asked.InstructionAdd) -> instructions.InstructionView:
        """One thing more to watch for. A stream that is opened for it watches for nothing else."""
        served, person = self._served, self._person
        if self.stream is not None:
            wanted = instructions.NewInstruction(text=request.text, priority=request.priority, cooldown=request.cooldown)
            return instructions.added(served, person, self._id, wanted)
        if cannot := instructions.read_back(person, request.text).cannot:
            raise Problem(400, cannot, "text")
        path = self.opened((request.text,)).instructions
        chosen = {"priority": request.priority, "cooldown": request.cooldown}
        store.save(path, [each.model_copy(update=chosen) for each in store.load(path)])
        return instructions.listed(served, person, self._id)[0]

    @property
    def _id(self) -> str:
        return self.stream.about.id if self.stream is not None else ""

    def _answer(self, kind: str, request: asked.Request, **fields: Any) -> ServerEvent:
        return own(kind, {"stream": self._id, "in_reply_to": request.event_id, **{k: _plain(v) for k, v in fields.items()}})


def problem_told(problem: Problem, event_id: str | None = None) -> Error:
    """A problem as an event."""
    kind = {403: "permission_error", 429: "rate_limit_error", 500: "server_error"}.get(problem.status, "invalid_request_error")
    code = {403: "not_allowed", 404: "not_found", 409: "not_now", 429: "too_many", 500: "server_error"}
    told = {"type": kind, "code": code.get(problem.status, "invalid_value"), "message": problem.text}
    return Error(error=ErrorTold.model_validate({**told, "param": problem.param, "event_id": event_id}))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(each) for each in value] if isinstance(value, list) else value
