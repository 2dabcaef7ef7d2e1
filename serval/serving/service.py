"""What every route has at hand: who asks, and the parts of the service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from serval.media.apart import DecoderApart
from serval.serving.door import Door
from serval.serving.hub import Hub
from serval.serving.keys import Keys, Person, Scope
from serval.serving.options import ServeOptions
from serval.serving.problems import Problem
from serval.serving.webhooks import Webhooks


@dataclass
class Service:
    """The parts of a running service. ``parts`` holds what is opened when somebody first needs it, such as models."""

    options: ServeOptions
    keys: Keys
    hub: Hub
    decoder: DecoderApart
    webhooks: Webhooks
    parts: dict[str, Any] = field(default_factory=dict)
    door: Door | None = None


def service(connection: HTTPConnection) -> Service:
    found: Service = connection.app.state.service
    return found


def may(scope: Scope) -> Callable[[HTTPConnection], Person]:
    """A dependency: whoever asks, if they may do this."""

    def person(connection: HTTPConnection) -> Person:
        found: Person = connection.state.person
        if not found.may(scope):
            raise Problem(403, f"this key may not do that: it needs the scope {scope}")
        return found

    person.scope = scope  # type: ignore[attr-defined]  # for the test that walks the routes
    return person


Served = Annotated[Service, Depends(service)]
Watcher = Annotated[Person, Depends(may(Scope.WATCH))]
Asker = Annotated[Person, Depends(may(Scope.ASK))]
Instructor = Annotated[Person, Depends(may(Scope.INSTRUCT))]
Admin = Annotated[Person, Depends(may(Scope.ADMIN))]
