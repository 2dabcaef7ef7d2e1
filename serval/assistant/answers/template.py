"""The answerer that is always there: a declined question, or a sentence rendered from the facts."""

from __future__ import annotations

import time
from collections.abc import Callable

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.checker import check
from serval.assistant.answers.decline import reason
from serval.assistant.answers.phrasing import phrase
from serval.assistant.instructions.schema import fill_data


class TemplateAnswerer:
    """Speaks in milliseconds and says only what the facts hold; every other answerer falls back on it."""

    name = "template"

    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """The sentence and, where the instruction has a schema, the data; ``why`` says what of the data no fact fills."""
        began = time.perf_counter()
        if declined := reason(request.question):
            return Answer(declined, self.name, why="the parts cannot see what was asked for")
        text = phrase(request.facts, request.seed, request.said_before)
        filled = fill_data(request.instruction, request.facts, request.time) if request.instruction else None
        seconds = time.perf_counter() - began
        return Answer(
            text,
            self.name,
            verified=not check(text, request.facts),
            why=filled.why if filled else "",
            seconds=seconds,
            first_word_seconds=seconds,
            data=filled.data if filled else {},
        )
