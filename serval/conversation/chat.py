"""Messages to token ids, part by part: the template's own tokens are ids, and what people wrote is text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from serval.conversation.tokenizer import Tokenizer
from serval.refusal import Refusal

Role = Literal["system", "user", "assistant"]
_ROLES = get_args(Role)


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise Refusal("the conversation", "a message has a role that is not known", f"use {', '.join(_ROLES)}")


@dataclass(frozen=True)
class ChatML:
    """The ChatML template (OpenAI, 2023): ``<|im_start|>role`` newline text ``<|im_end|>`` newline.

    Attributes:
        default_system: the system message of a conversation that does not begin with one; "" for none. SmolLM2 was
            tuned with the one given here.
    """

    default_system: str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    start: str = "<|im_start|>"
    end: str = "<|im_end|>"

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Message], *, reply: bool = True) -> list[int]:
        """Token ids of a conversation; with ``reply`` they end where the assistant's words begin.

        Raises:
            Refusal: there is no message, or the tokenizer is not ChatML's.
        """
        if not messages:
            raise Refusal("the conversation", "it has no message", "give one")
        if self.default_system and messages[0].role != "system":
            messages = [Message("system", self.default_system), *messages]
        start, end = tokenizer.special(self.start), tokenizer.special(self.end)
        newline = tokenizer.encode("\n")
        ids: list[int] = []
        for message in messages:
            ids += [start, *tokenizer.encode(f"{message.role}\n{message.text}"), end, *newline]
        if reply:
            ids += [start, *tokenizer.encode("assistant\n")]
        return ids

    def stops(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Ids with which the assistant ends its turn."""
        return frozenset({tokenizer.special(self.end)})
