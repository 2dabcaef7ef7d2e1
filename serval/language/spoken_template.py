"""A model's own chat template, as `ChatModel` asks for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serval.conversation.build import encode_pieces
from serval.conversation.messages import Message
from serval.conversation.segments import TextSegment
from serval.conversation.tokenizer import Tokenizer
from serval.language.speech import Speech
from serval.refusal import Refusal


@dataclass(frozen=True)
class SpokenTemplate:
    """Conversations of words, written as the files of a model say. It runs apart, as `ChatTemplate` does."""

    speech: Speech

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Message], *, reply: bool = True) -> list[int]:
        """Token ids of a conversation; with ``reply`` they end where the assistant's words begin.

        Raises:
            Refusal: there is no message, one holds more than words, or the template cannot write it.
        """
        if not messages:
            raise Refusal("the conversation", "it has no message", "give one")
        ids: list[int] = []
        for each in self.speech.begun(encode_pieces(self.speech.template.render(messages, reply=reply), tokenizer)):
            if not isinstance(each, TextSegment):
                raise Refusal("the conversation", "it holds a picture or a sound, and this model reads words", "leave it out")
            ids += each.ids
        return ids

    def stops(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Ids with which the assistant ends its turn."""
        return self.speech.stops

    def turn(self, tokenizer: Tokenizer) -> int | None:
        """What every message begins with is not known."""
        return None
