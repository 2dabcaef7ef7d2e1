"""One conversation, and as many replies to it as are asked for: words, or a call of a function."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request

from serval.serving import problems
from serval.serving.keys import Person
from serval.serving.openai.asked import Content, Picking, Tools, held_to
from serval.serving.openai.conversation import read_messages, shown_and_heard
from serval.serving.openai.opened import EARS, Opened
from serval.serving.openai.running import Running
from serval.serving.openai.speaker import Piece, Said, Wish
from serval.serving.openai.tools import call_of, choose
from serval.serving.openai.transcript import transcribe
from serval.serving.problems import Problem
from serval.serving.service import Service

if TYPE_CHECKING:
    from serval.assistant.listening.activity import Samples
    from serval.conversation.messages import Media, Message
    from serval.language.vision_language.model import Seen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What comes of a reply: some of its words, or that it is whole.

    Attributes:
        number: which reply, from 0.
        function: the function that it calls; its words are the arguments then.
    """

    number: int
    function: str | None
    what: Piece | Said


@dataclass(frozen=True)
class Asked:
    """What replies are asked for.

    Attributes:
        content: messages in OpenAI's form.
        schema: of the replies, where they are to be JSON; ``form`` is the field that said so.
        logprobs: as of `Wish`.
    """

    content: Sequence[Mapping[str, Any]]
    picking: Picking
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    schema: Content | None = None
    form: str = "response_format"
    tools: Tools = Tools()  # noqa: RUF009 - it is frozen
    logprobs: int | None = None
    replies: int = 1


def begin(served: Service, opened: Opened, person: Person, asked: Asked) -> Running[Told]:
    """Work on the replies. Raises `Problem` where too much is being worked on; the work raises it for what is asked."""

    def work(cancelled: Callable[[], bool], tell: Callable[[Told], None]) -> None:
        given = read_messages(asked.content)
        speaker = opened.speaker()
        if asked.logprobs is not None and not speaker.told:
            raise Problem(400, "the model of this server tells no log-probabilities", "logprobs")
        constraint = held_to(speaker, asked.schema, asked.form)
        read: tuple[list[Message], dict[Media, Seen]] | None = None

        def hear(sound: Samples) -> str:
            ears = opened.ears()
            with opened.turn(EARS, person):
                return "".join(f"{each.text}\n" for each in transcribe(sound, ears, cancelled))

        for number in range(asked.replies):
            with speaker.attention.turn(person.id):
                if cancelled():
                    return
                if read is None:  # in its turn: of many who wait, nobody's pictures take up room
                    read = shown_and_heard(given, served.decoder, hear, sees=speaker.sees)
                sampling = asked.picking.sampling(number)
                wish = Wish(read[0], sampling, read[1], asked.max_tokens, asked.stop, constraint, asked.logprobs)
                function = choose(speaker, asked.tools, wish, cancelled)
                wish = call_of(speaker, function, wish) if function is not None else wish
                name = function.name if function is not None else None

                def hand_on(piece: Piece, at: int = number, name: str | None = name) -> None:
                    tell(Told(at, name, piece))

                said = speaker.say(wish, cancelled, hand_on)
            tell(Told(number, name, said))

    return opened.run(person, work)


async def first_of(running: Running[Told], request: Request) -> Told:
    """What comes first: until then it can still be said with a status that nothing will. Raises as `Running.next_for`."""
    first = await running.next_for(request)
    assert first is not None  # a reply has an end
    return first


async def rest_of(running: Running[Told], first: Told) -> AsyncIterator[Told]:
    """All of it. Raises `Problem` for whatever goes wrong."""
    yield first
    try:
        async for told in running:
            yield told
    except Problem:
        raise
    except Exception:
        log.exception("a reply")
        raise Problem(500, "something went wrong on the server") from None


def trouble(problem: Problem) -> str:
    """A problem in a stream that has begun, as JSON."""
    return json.dumps(problems.content(problem.status, problem.text, problem.param))
