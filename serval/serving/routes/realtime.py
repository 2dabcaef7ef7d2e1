"""`/v1/realtime`: a conversation over a WebSocket, by voice or in writing, about what is seen or anything else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from serval.serving.keys import Person, Scope
from serval.serving.problems import response
from serval.serving.realtime.line import Line
from serval.serving.realtime.parts import realtime as parts_of
from serval.serving.service import Served

router = APIRouter(prefix="/v1", tags=["openai"])

_SUBPROTOCOL = "realtime"  # that pages of OpenAI's clients ask for, beside their key


def _asker(connection: HTTPConnection) -> Person | None:
    """Whoever asks, if they may: a socket is refused by the route itself, before it is one."""
    person: Person = connection.state.person
    return person if person.may(Scope.ASK) else None


_asker.scope = Scope.ASK  # type: ignore[attr-defined]  # as `service.may` marks what it makes


@router.websocket("/realtime")
async def realtime(socket: WebSocket, served: Served, person: Annotated[Person | None, Depends(_asker)]) -> None:
    """See docs/service-realtime.md."""
    if person is None:
        await socket.send_denial_response(response(403, f"this key may not do that: it needs the scope {Scope.ASK}"))
        return
    await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
    parts = parts_of(served)
    voice = parts.voice(person)
    line = Line(
        socket,
        served,
        person,
        parts.session(person, voice=voice is not None),
        answers=parts.answers(person),
        ears=parts.ears(person),
        voice=voice,
        limits=served.options.limits,
    )
    await line.run()
