"""Responses of a session as they are made: admitted, told of, and given to whoever answers once all that was said is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serval.serving.realtime.conversation import Conversation, text_of
from serval.serving.realtime.effects import Answer, Outbox, Turn
from serval.serving.realtime.floor import Floor
from serval.serving.realtime.limits import SessionLimits
from serval.serving.realtime.protocol import Settings, Unreadable, Wanted
from serval.serving.realtime.response import Response
from serval.serving.realtime.sound import Outgoing
from serval.serving.realtime.told import RateLimits, ResponseTold

Took = Callable[[], tuple[bool, int]]
"""Whether one more response may be made now, and how many after it."""


def always() -> tuple[bool, int]:
    return True, 1


class Responses:
    """See the module.

    Args:
        voice: whether they can be spoken.
        take: see `Took`.
        per_minute: of responses, as clients are told.
    """

    def __init__(
        self,
        conversation: Conversation,
        floor: Floor,
        outbox: Outbox,
        limits: SessionLimits,
        new_id: Callable[[str], str],
        *,
        voice: bool,
        take: Took,
        per_minute: int,
    ) -> None:
        self._conversation, self._floor, self._outbox = conversation, floor, outbox
        self._limits, self._new_id, self._voice = limits, new_id, voice
        self._take, self._per_minute = take, per_minute
        self._unasked: dict[str, tuple[Wanted, tuple[Turn, ...] | None]] = {}  # those whose answer is not asked for yet

    def create(self, wanted: Wanted, settings: Settings, now: float) -> None:
        """Begin one. Raises `Unreadable` where it cannot be."""
        modalities = wanted.output_modalities or settings.output_modalities
        self.check(modalities, "response.output_modalities")
        given = None if wanted.input is None else tuple(Turn(each.role, text_of(each)) for each in wanted.input)
        free, left = self._take()
        if not free:
            raise Unreadable("rate_limit_exceeded", "too many responses; wait a moment")
        response = Response(
            self._new_id("resp"),
            self._new_id("item"),
            spoken=modalities[0] == "audio",
            metadata=wanted.metadata,
            kept=wanted.conversation == "auto",
            outgoing=Outgoing(settings.audio.output.format.law),
        )
        self._unasked[response.id] = wanted, given
        self._outbox.send(ResponseTold(type="response.created", response=response.view()))
        limit = {"name": "requests", "limit": self._per_minute, "remaining": left, "reset_seconds": 60.0 / self._per_minute}
        self._outbox.send(RateLimits(rate_limits=[limit]))
        self._floor.answer(response, now)
        self.think(settings)

    def think(self, settings: Settings) -> None:
        """Ask for the answers of those for which all that was said is known."""
        if self._conversation.pending:
            return
        for name, (wanted, given) in list(self._unasked.items()):
            del self._unasked[name]
            response = self._floor.made(name)
            if response is None:
                continue
            told = settings.instructions if wanted.instructions is None else wanted.instructions
            turns = self._conversation.turns() if given is None else given
            most = settings.max_output_tokens if wanted.max_output_tokens is None else wanted.max_output_tokens
            tokens = self._limits.tokens if most == "inf" else min(int(most), self._limits.tokens)
            answer = Answer(name, (*([Turn("system", told)] if told.strip() else []), *turns), tokens)
            response.question = answer.question
            self._outbox.put(answer)

    def fail(self, code: str, why: str) -> None:
        """End those that waited for words which will never be known."""
        for name in list(self._unasked):
            if (response := self._floor.made(name)) is not None:
                self._floor.fail(response, code, why)
        self._unasked.clear()

    def check(self, modalities: Sequence[str], param: str) -> None:
        """Raises `Unreadable` for speech where there is no voice."""
        if "audio" in modalities and not self._voice:
            raise Unreadable("voice_missing", "speech is off: its part is not on the server; ask for text", param)
