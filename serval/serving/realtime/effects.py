"""What a session wants done: it does nothing itself, neither send, nor wait, nor think."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serval.serving.realtime.protocol import Request
from serval.serving.realtime.told import ServerEvent

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation, as words."""

    role: Role
    text: str


@dataclass(frozen=True)
class Send:
    """Tell the client."""

    event: ServerEvent


@dataclass(frozen=True)
class Answer:
    """Find words for a response, and give them to `Session.words` and `Session.answered`."""

    response: str
    turns: tuple[Turn, ...]
    tokens: int

    @property
    def question(self) -> str:
        """What was said last by the user."""
        return next((each.text for each in reversed(self.turns) if each.role == "user"), "")


@dataclass(frozen=True)
class Speak:
    """Give a sentence a voice, after those before it; its sound goes to `Session.sound`, its end to `Session.spoken`."""

    response: str
    number: int
    text: str


@dataclass(frozen=True)
class Cancel:
    """Nobody waits any more for the words and the sound of a response."""

    response: str


@dataclass(frozen=True, eq=False)
class Transcribe:
    """Find out what is said in sound (n,) at 16 kHz, and give it to `Session.transcribed` or `Session.not_transcribed`."""

    item: str
    samples: NDArray[np.float32]


@dataclass(frozen=True)
class Record:
    """Put something on the timeline of the session's stream, if it has one."""

    kind: Literal["decision", "answer"]
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """Have the hub do something, and tell the client what came of it."""

    request: Request


@dataclass(frozen=True)
class Gates:
    """Tell the gates' scores from now on, or no longer."""

    on: bool


@dataclass(frozen=True)
class Close:
    """End the connection, with a code of WebSocket."""

    code: int
    reason: str


Effect = Send | Answer | Speak | Cancel | Transcribe | Record | Ask | Gates | Close


class Outbox:
    """Effects of a session in their order, until they are taken; events are numbered."""

    def __init__(self) -> None:
        self._count, self._effects = 0, list[Effect]()

    def put(self, *effects: Effect) -> None:
        self._effects += effects

    def send(self, *events: ServerEvent) -> None:
        """Tell the client."""
        for each in events:
            self._count += 1
            self.put(Send(each.model_copy(update={"event_id": f"event_{self._count}"})))

    def take(self) -> list[Effect]:
        taken, self._effects = self._effects, []
        return taken
