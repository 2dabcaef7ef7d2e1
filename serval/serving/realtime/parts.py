"""What realtime sessions of a service share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from serval.assistant.listening.activity import Activity, best_activity
from serval.serving.keys import Person
from serval.serving.limits import Rate
from serval.serving.openai.opened import opened
from serval.serving.realtime.answers import Answers, RecordThenChat
from serval.serving.realtime.hearing import Ears, SharedEars, Voice, shared_voice
from serval.serving.realtime.limits import SessionLimits
from serval.serving.realtime.session import Session
from serval.serving.service import Service


@dataclass
class Realtime:
    """Who answers, hears and speaks for a person; a voice only where there is one."""

    answers: Callable[[Person], Answers]
    ears: Callable[[Person], Ears]
    voice: Callable[[Person], Voice | None]
    rate: Rate
    per_minute: int
    activity: Callable[[], Activity] = best_activity
    limits: SessionLimits = field(default_factory=SessionLimits)

    def session(self, person: Person, *, voice: bool) -> Session:
        """A new one."""

        def take() -> tuple[bool, int]:
            return self.rate.take(person.id), int(self.rate.left(person.id))

        return Session(voice=voice, activity=self.activity, limits=self.limits, take=take, per_minute=self.per_minute)


def realtime(service: Service) -> Realtime:
    """Those of a service, whose models are those of its other endpoints."""
    found: Realtime | None = service.parts.get("realtime")
    if found is None:
        models, per_minute = opened(service), service.options.limits.requests
        found = Realtime(
            lambda person: RecordThenChat(models, person),
            lambda person: SharedEars(models, person),
            lambda person: shared_voice(models, person),
            Rate(per_minute),
            per_minute,
        )
        service.parts["realtime"] = found
    return found
