"""A small language model that rewrites what the template says, heard only when every claim of it stands in the facts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.checker import check
from serval.assistant.answers.lexicon import Item, read
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.event import Fact
from serval.assistant.timeline.plain import one_line
from serval.conversation.messages import Message
from serval.refusal import Refusal

# No example sentences: a small model says them instead of the facts.
ASKED = (
    "Rewrite the sentence in plain, friendly English. Keep every number, name, place and quotation exactly as it is. "
    "Add nothing and leave nothing out. Reply with the rewritten sentence only."
)
LONGEST = 300  # characters


class Speaker(Protocol):
    """As much of `serval.language.chat_model.ChatModel` as a rewrite needs."""

    model_id: str

    def reply(
        self,
        messages: Sequence[Message],
        max_tokens: int = ...,
        stop: Sequence[str] = ...,
        cancelled: Callable[[], bool] = ...,
        on_text: Callable[[str], None] = ...,
    ) -> str: ...


class RewriteAnswerer:
    """The template's sentence in the model's words, or the template's own where the checker objects.

    Nothing is heard before it is checked, so the first word comes when the last one is there.
    """

    def __init__(self, model: Speaker, name: str) -> None:
        self.name, self._model, self._template = name, model, TemplateAnswerer()
        self.models = {"answerer": model.model_id}

    @classmethod
    def open(cls, part: str) -> RewriteAnswerer:
        """With a chat model from the fetched parts.

        Raises:
            Refusal: the part is missing or damaged.
        """
        from serval.language.chat_model import ChatModel

        return cls(ChatModel.open(part=part), part)

    def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """``why`` says for what reason the template was heard instead."""
        began = time.perf_counter()
        plain = self._template.answer(request, cancelled)
        if check(plain.text, request.facts):
            return plain  # a declined question: nothing to rewrite
        try:
            said = self._model.reply(
                [Message.of("system", ASKED), Message.of("user", plain.text)], max_tokens=64, stop=("\n",), cancelled=cancelled
            )
            text, why = tidy(said), ""
        except Refusal as refusal:
            text, why = "", f"the model could not rewrite it: {refusal}"
        if cancelled():
            why = "the rewrite was cut short"
        elif not why and words_of(text) == words_of(plain.text):
            why = "the rewrite kept the words"
        elif not why and (problems := check(text, request.facts)):
            why = f"the rewrite was not supported: {'; '.join(problems[:3])}"
        elif not why and (lost := _told(plain.text, request.facts) - _told(text, request.facts)):
            why = f"the rewrite left out {', '.join(sorted(lost)[:3])}"
        seconds = time.perf_counter() - began
        timed = replace(plain, seconds=seconds, first_word_seconds=seconds)
        return replace(timed, why=why) if why else replace(timed, text=text, by=self.name, verified=True)


def _told(text: str, facts: Sequence[Fact]) -> set[str]:
    """What a sentence tells of: things, happenings, places and quotations, however it words them."""
    telling = (Item.NOUN, Item.ACTION, Item.PLACE, Item.QUOTE)
    return {token.value for token in read(text, facts)[0] if token.item in telling} - {"exist"}


def words_of(text: str) -> str:
    """Without the marks between them: a comma more is no other wording."""
    return " ".join(re.sub(r"[,;:.]", " ", text).casefold().split())


def tidy(said: str) -> str:
    """The model's words as one line: without marks around the whole, and ended."""
    text = one_line(said)[:LONGEST]
    if re.fullmatch(r"\"[^\"]*\"|“[^“”]*”", text):
        text = text[1:-1].strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
