"""Where the words of a response come from: the record of the session's stream where it holds them, else the chat model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from serval.assistant.ask.answering import NOT_UNDERSTOOD
from serval.conversation.messages import Message
from serval.serving.keys import Person
from serval.serving.openai.opened import Opened
from serval.serving.realtime.effects import Answer, Turn
from serval.serving.stream import Stream

_READ = 6_000  # characters of a conversation that the chat model reads; of more, the newest


@dataclass(frozen=True)
class Said:
    """How an answer ended.

    Attributes:
        whole: whether it was not cut off for its length.
        record: what it rests on, where the stream's record gave it.
    """

    whole: bool = True
    usage: dict[str, Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)


class Answers(Protocol):
    """Whatever answers."""

    def answer(
        self, asked: Answer, stream: Stream | None, cancelled: Callable[[], bool], on_text: Callable[[str], None]
    ) -> Said:
        """Give the words to ``on_text``, piece by piece; ``cancelled`` is polled between them. In a thread of its own.

        Raises:
            Problem: there is no answer.
            PartMissing: a part of it is not on this machine.
        """
        ...


class RecordThenChat:
    """See the module. What the record does not know of what was seen, no model makes up: then the answer is that."""

    def __init__(self, models: Opened, person: Person) -> None:
        self._models, self._person = models, person

    def answer(
        self, asked: Answer, stream: Stream | None, cancelled: Callable[[], bool], on_text: Callable[[str], None]
    ) -> Said:
        """See `Answers.answer`."""
        question = asked.question.strip()
        spoken = stream.ask(question[:500], cancelled) if stream is not None and question else None
        if spoken is not None and (spoken.reply.text != NOT_UNDERSTOOD or spoken.unverified):
            on_text(spoken.unverified if spoken.unverified and not spoken.reply.known else spoken.reply.text)
            evidence = [each.model_dump(mode="json") for each in spoken.reply.evidence]
            return Said(record={"known": spoken.reply.known, "verified": not spoken.unverified, "evidence": evidence})
        return self._chat(asked, cancelled, on_text)

    def _chat(self, asked: Answer, cancelled: Callable[[], bool], on_text: Callable[[str], None]) -> Said:
        from serval.language.generation.sampling import Sampling
        from serval.serving.openai.speaker import Wish

        speaker = self._models.speaker()
        messages = [Message.of(each.role, each.text) for each in read_again(asked.turns)]
        with speaker.attention.turn(self._person.id, priority=5):
            if cancelled():
                return Said()
            said = speaker.say(
                Wish(messages, Sampling(), max_tokens=asked.tokens), cancelled, lambda piece: on_text(piece.text)
            )
        return Said(
            whole=said.finish == "stop",
            usage={
                "input_tokens": said.prompt_tokens,
                "output_tokens": said.tokens,
                "total_tokens": said.prompt_tokens + said.tokens,
                "input_token_details": {"text_tokens": said.prompt_tokens, "audio_tokens": 0, "cached_tokens": 0},
                "output_token_details": {"text_tokens": said.tokens, "audio_tokens": 0},
            },
        )


def read_again(turns: Sequence[Turn], most: int = _READ) -> list[Turn]:
    """What of a conversation is read: its first system message and the newest turns, of so many characters."""
    system = [each for each in turns[:1] if each.role == "system"]
    left, kept = most - sum(len(each.text) for each in system), list[Turn]()
    for each in reversed(turns[len(system) :]):
        left -= len(each.text)
        if left < 0 and kept:
            break
        kept.append(each)
    return [*system, *reversed(kept)] or [Turn("user", "")]
