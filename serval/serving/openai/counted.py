"""Models that reply, each of which also says how many tokens it read first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from serval.conversation.messages import Media, Message
from serval.language.chat_model import ChatModel
from serval.language.vision_language.chat import PictureChat
from serval.language.vision_language.model import Seen, VisionLanguageModel
from serval.language.vision_language.transformers_model import TransformersModel


class CountedWords(ChatModel):
    """A model of words alone."""

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens a conversation is. Raises `Refusal` as `ChatModel.reply`."""
        return len(self._template.encode(self.tokenizer, messages))

    @property
    def limit(self) -> int:
        """Tokens of a conversation with its reply at the most."""
        return self._decoder.config.max_position


class CountedPictures(PictureChat):
    """A model that sees, of a family that is known here.

    Attributes:
        read: tokens of the last prompt.
    """

    def __init__(self, model: VisionLanguageModel, model_id: str) -> None:
        super().__init__(model, model_id)
        self.read, self._speaking = 0, False
        model.register_forward_pre_hook(self._count)

    def reply(self, messages: Sequence[Message], media: Mapping[Media, Seen], *args: Any, **options: Any) -> str:
        """See `PictureChat.reply`."""
        self.read, self._speaking, on_step = 0, False, options.get("on_step", lambda step: None)

        def stepped(step: Any) -> None:
            self._speaking = True
            on_step(step)

        options["on_step"] = stepped
        return super().reply(messages, media, *args, **options)

    def _count(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        """Everything that is read before the first token comes is prompt."""
        if not self._speaking:
            self.read += int(given[0].length if hasattr(given[0], "length") else given[0].shape[-1])


class CountedTransformers(TransformersModel):
    """A model that sees, of any other family: transformers runs it.

    Attributes:
        read: tokens of the last prompt.
    """

    def __init__(self, model: Any, processor: Any, model_id: str) -> None:
        super().__init__(model, processor, model_id)
        self.read = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def reply(self, messages: Sequence[Message], media: Mapping[Media, Seen], *args: Any, **options: Any) -> str:
        """See `SeeingModel.reply`."""
        self.read = 0
        return super().reply(messages, media, *args, **options)

    def _count(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids")
        if not self.read and ids is not None:  # the prompt is read at once
            self.read = int(ids.shape[-1])
