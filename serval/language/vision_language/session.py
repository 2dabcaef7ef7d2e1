"""Conversations that go on: token by token after a prompt, or frame by frame as a video comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from serval.conversation.build import encode_pieces
from serval.conversation.messages import Media, Message, Text
from serval.conversation.segments import MediaSegment, TextSegment
from serval.conversation.sequence import Modality
from serval.conversation.template import Piece
from serval.language.cache import KVCache
from serval.language.generation.generate import say
from serval.language.generation.request import Request
from serval.language.generation.sampling import Sampling
from serval.refusal import Refusal

if TYPE_CHECKING:
    from serval.language.vision_language.model import VisionLanguageModel
    from serval.media.frame import Frame

SOURCES = 1 << 20  # frames after which their numbers begin anew


class ModelSession:
    """A conversation that goes on after what the cache holds."""

    def __init__(self, model: VisionLanguageModel, cache: KVCache) -> None:
        self._model, self._cache = model, cache

    @property
    def room(self) -> int:
        return self._cache.room

    def read(self, ids: Sequence[int]) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self._model(torch.tensor([ids], device=self._model.device), self._cache, last=True)
            return logits[0, 0]


class FrameSession:
    """One message of a person that never ends: frames, one after another, of which none is read twice.

    A question is asked aside, in a copy of the memory; the stream goes on as if nobody had asked.

    Attributes:
        frames: how many have been seen.
    """

    def __init__(self, model: VisionLanguageModel, capacity: int, **options: Any) -> None:
        """
        Args:
            capacity: entries that are held at the most; with an ``eviction`` among the cache's ``options`` the stream may be
                of any length.

        Raises:
            Refusal: the model has no tokenizer and chat template.
        """
        if model.speech is None:
            raise Refusal("the model", "it has no tokenizer and chat template", "take a folder that has them")
        self._model, self._speech, self._cache = model, model.speech, model.new_cache(capacity, **options)
        self.frames = 0
        before, between, _ = self._around("?")
        self._between = self._text(between)
        self._read(self._cache, self._text(before, begin=True))

    @property
    def length(self) -> int:
        """Tokens read so far."""
        return self._cache.length

    @property
    def held(self) -> int:
        """Entries of the fullest layer."""
        return max(self._cache.held(layer) for layer in range(len(self._cache.shapes)))

    def see(self, frame: Frame) -> None:
        """Read a frame.

        Raises:
            Refusal: there is no room for it, and nothing that makes room.
        """
        model = self._model
        prepared = model.prepare(frame.rgb, alone=False)
        with torch.inference_mode():
            parts = iter(torch.split(model.look(prepared), prepared.plan.counts))
        segments: list[TextSegment | MediaSegment] = [*self._between] if self.frames else []
        for each in prepared.plan.layout:
            if isinstance(each, str):
                segments += self._text([Piece("template", each)])
            else:
                number, places = self.frames % SOURCES, model.positions(prepared)
                segments.append(MediaSegment(next(parts), Modality.VIDEO, number, frame.time, positions=places))
        self._read(self._cache, segments)
        self.frames += 1

    def ask(
        self,
        question: str,
        max_tokens: int = 64,
        sampling: Sampling | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> str:
        """What the model says to ``question`` after the frames so far; see `PictureChat.reply`.

        Raises:
            Refusal: question and reply do not fit beside what is held.
        """
        fork, last = self._asked(question)
        request = Request([last], max_tokens, self._speech.stops, (), sampling or Sampling())
        return say(ModelSession(self._model, fork), request, self._speech.tokenizer, cancelled=cancelled, on_text=on_text)

    def logits(self, question: str) -> Tensor:
        """(vocabulary,) of the first token of the reply to ``question``, for those who decide by a probability."""
        fork, last = self._asked(question)
        return ModelSession(self._model, fork).read([last])

    def _asked(self, question: str) -> tuple[KVCache, int]:
        """A copy of the memory that has read the question but for its last token, and that token."""
        *asked, last = self._text(self._around(question)[2])
        fork = self._cache.fork(capacity=self._cache.capacity)
        self._read(fork, [*asked, TextSegment(last.ids[:-1])])
        return fork, last.ids[-1]

    def _around(self, question: str) -> tuple[list[Piece], list[Piece], list[Piece]]:
        """What the template writes before the frames, between two, and behind them: the question, to where the reply begins."""
        shown = [Media(kind="image", attached=number) for number in range(2)]
        pieces = list(self._speech.template.render([Message(role="user", parts=(*shown, Text(text=question)))]))
        first, second = (index for index, piece in enumerate(pieces) if piece.kind == "media")
        return pieces[:first], pieces[first + 1 : second], pieces[second + 1 :]

    def _text(self, pieces: Sequence[Piece], begin: bool = False) -> list[TextSegment]:
        encoded = encode_pieces(pieces, self._speech.tokenizer)
        made = self._speech.begun(encoded) if begin else encoded
        return [each for each in made if isinstance(each, TextSegment)]

    def _read(self, cache: KVCache, segments: Sequence[TextSegment | MediaSegment]) -> None:
        segments = [each for each in segments if isinstance(each, MediaSegment) or each.ids]
        if segments:
            with torch.inference_mode():
                self._model(self._model.joined(segments, start=float(cache.next_position[0])), cache, last=True)
