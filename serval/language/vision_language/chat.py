"""To talk with a model that sees: messages and pictures in, words out as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from serval.conversation.messages import Media, Message
from serval.conversation.segments import TextSegment
from serval.refusal import Refusal
from serval.weights.identity import identity

if TYPE_CHECKING:
    from serval.language.generation.constraint import Constraint
    from serval.language.generation.request import Spent, Step
    from serval.language.generation.sampling import Sampling
    from serval.language.vision_language.model import Seen, VisionLanguageModel


class SeeingModel(Protocol):
    """Whatever answers with words to messages and pictures: `PictureChat`, or `TransformersModel` for any other family.

    Attributes:
        model_id: name and hash, for the record.
    """

    model_id: str

    def reply(
        self,
        messages: Sequence[Message],
        media: Mapping[Media, Seen],
        max_tokens: int = ...,
        stop: Sequence[str] = ...,
        cancelled: Callable[[], bool] = ...,
        on_text: Callable[[str], None] = ...,
        sampling: Sampling | None = ...,
        on_end: Callable[[Spent], None] = ...,
    ) -> str:
        """The assistant's next words.

        Args:
            media: what each media part of the messages shows.
            max_tokens: how many tokens at the most.
            stop: texts before which the words end.
            cancelled: asked before every token; when it says so, the words so far are all.
            on_text: told every piece of text as soon as it is certain; together they are what is returned.
            sampling: how tokens are picked; the likeliest one every time by default.
            on_end: told what it came to, last of all.

        Raises:
            Refusal: the conversation is too long, or holds what the model cannot read.
        """
        ...


def open_seeing_model(folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> SeeingModel:
    """The model of a folder: ours where the family is known here, else transformers'. Raises `Refusal` as these do."""
    from serval.encoders.tower_files import TowerFiles
    from serval.language.vision_language.config import FAMILIES

    if TowerFiles(folder).config().get("model_type") in FAMILIES:
        return PictureChat.open(folder, dtype=dtype, device=device)
    from serval.language.vision_language.transformers_model import TransformersModel

    return TransformersModel.open(folder, dtype=dtype, device=device)


class PictureChat:
    """A `VisionLanguageModel` that replies.

    Attributes:
        speech: its tokenizer, for which a `Constraint` is made, and its template.

    Raises:
        Refusal: the model has none.
    """

    def __init__(self, model: VisionLanguageModel, model_id: str) -> None:
        if model.speech is None:
            raise Refusal(model_id, "there is no tokenizer.json in it", "fetch the model again")
        self.model_id, self.speech = model_id, model.speech
        self._model = model

    @classmethod
    def open(cls, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> PictureChat:
        """Of a model's folder. Raises `Refusal` as `VisionLanguageModel.from_pretrained`, and where it has no tokenizer."""
        from serval.language.vision_language.model import VisionLanguageModel

        return cls(VisionLanguageModel.from_pretrained(folder, dtype=dtype, device=device), identity(folder))

    def reply(
        self,
        messages: Sequence[Message],
        media: Mapping[Media, Seen],
        max_tokens: int = 64,
        stop: Sequence[str] = (),
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda text: None,
        sampling: Sampling | None = None,
        on_end: Callable[[Spent], None] = lambda spent: None,
        constraint: Constraint | None = None,
        logprobs: int | None = None,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> str:
        """See `SeeingModel.reply`, and for what it does not have `ChatModel.reply`."""
        from serval.language.generation.generate import say
        from serval.language.generation.request import Request, Spent
        from serval.language.generation.sampling import Sampling
        from serval.language.generation.session import PIECE, DecoderSession

        model, speech = self._model, self.speech
        with torch.inference_mode():
            segments = model.segments(messages, media)
            sequence = model.joined(segments)
            length, limit, last = sequence.length + max_tokens, model.config.text.max_position, segments[-1]
            if length > limit:
                why = f"with its reply it is {length} tokens long, and {limit} is the limit"
                raise Refusal("the conversation", why, "shorten it, or show fewer pictures")
            if not isinstance(last, TextSegment):
                raise Refusal("the chat template", "it does not begin the reply", "use another template")
            cache = model.new_cache(length)
            for start in range(0, sequence.length - 1, PIECE):
                if cancelled():
                    on_end(Spent(sequence.length, 0, "cancelled"))
                    return ""
                model(sequence.slice(start, min(start + PIECE, sequence.length - 1)), cache, last=True)
        before = [id_ for each in segments if isinstance(each, TextSegment) for id_ in each.ids]
        request = Request(
            [before.pop()], max_tokens, speech.stops, stop, sampling or Sampling(), constraint, logprobs, before=before
        )  # the last token alone is read by the loop
        session = DecoderSession(model, cache)
        return say(
            session,
            request,
            speech.tokenizer,
            cancelled=cancelled,
            on_text=on_text,
            on_step=on_step,
            on_end=lambda made, reason: on_end(Spent(sequence.length, made, reason)),
        )
