"""ChatML written by hand: the answer path of a watch waits for no other process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serval.conversation.messages import Message
from serval.conversation.tokenizer import Tokenizer
from serval.refusal import Refusal

_BEYOND = {  # what a message may be or hold besides words
    "image": "a picture",
    "video": "a video",
    "audio": "a sound",
    "tool": "a tool's result",
    "developer": "a developer's words",
}


@dataclass(frozen=True)
class ChatML:
    """The ChatML template (OpenAI, 2023): ``<|im_start|>role`` newline text ``<|im_end|>`` newline.

    It is for words alone; a `ChatTemplate` renders everything else. Names of speakers are left out, as SmolLM2's and
    Qwen2's own templates leave them out.

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
            Refusal: there is no message, one holds more than words, or the tokenizer is not ChatML's.
        """
        if not messages:
            raise Refusal("the conversation", "it has no message", "give one")
        for number, message in enumerate(messages, 1):
            kinds = (message.role, *(part.kind for part in message.media))
            if beyond := ["a tool call"] * bool(message.tool_calls) + [_BEYOND[kind] for kind in kinds if kind in _BEYOND]:
                why = f"it holds {beyond[0]}, and ChatML is for words between system, user and assistant"
                raise Refusal(f"message {number}", why, "take a model made for it")
        if self.default_system and messages[0].role != "system":
            messages = [Message.of("system", self.default_system), *messages]
        start, end = tokenizer.special(self.start), tokenizer.special(self.end)
        newline = tokenizer.encode("\n", "special")
        ids: list[int] = []
        for message in messages:
            ids += [start, *tokenizer.encode(f"{message.role}\n{message.text}", "special"), end, *newline]
        if reply:
            ids += [start, *tokenizer.encode("assistant\n", "special")]
        return ids

    def stops(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Ids with which the assistant ends its turn."""
        return frozenset({tokenizer.special(self.end)})

    def turn(self, tokenizer: Tokenizer) -> int | None:
        """The id that every message begins with."""
        return tokenizer.special(self.start)
