"""A conversation that goes on frame by frame as a video comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from serval.language.generation.session import DecoderSession
from serval.refusal import Refusal

if TYPE_CHECKING:
    from serval.language.vision_language.model import VisionLanguageModel
    from serval.media.frame import Frame

SOURCES = 1 << 20  # frames after which their numbers begin anew


class FrameSession:
    """One message of a person that never ends: frames, one after another, of which none is read twice.

    A question is asked aside, in a copy of the memory; the stream goes on as if nobody had asked.

    Attributes:
        cache: what has been read; `save_cache` keeps it, and a session goes on from it.
        frames: how many have been seen.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        memory: int | KVCache,
        *,
        features: Mapping[str, Tensor] | None = None,
        condition: Tensor | None = None,
        **options: Any,
    ) -> None:
        """
        Args:
            memory: entries that are held at the most; with an ``eviction`` among the cache's ``options`` the stream may be of
                any length. Or the cache of an earlier session, to go on where that one was.
            features: what told layers and cross-attention read, with every reading (`Decoder.forward`).
            condition: (1, any), the instruction that guides a bank's router for all frames.

        Raises:
            Refusal: the model has no tokenizer and chat template.
            ValueError: options beside a cache, which has its own.
        """
        if model.speech is None:
            raise Refusal("the model", "it has no tokenizer and chat template", "take a folder that has them")
        if options and not isinstance(memory, int):
            raise ValueError(f"{', '.join(options)}: expected no options beside a cache, which has its own")
        self._model, self._speech, self._features, self._condition = model, model.speech, features, condition
        self.cache = model.new_cache(memory, **options) if isinstance(memory, int) else memory
        self.frames = _frames(self.cache)
        before, between, _ = self._around("?")
        self._between = self._text(between)
        if not self.cache.length:
            self._read(self.cache, self._text(before, begin=True))

    @property
    def length(self) -> int:
        """Tokens read so far."""
        return self.cache.length

    @property
    def held(self) -> int:
        """Entries of the fullest layer."""
        return max(self.cache.held(layer) for layer in range(len(self.cache.shapes)))

    def see(self, frame: Frame) -> None:
        """Read a frame.

        Raises:
            Refusal: there is no room for it, and nothing that makes room.
        """
        model = self._model
        prepared = model.prepare(frame.rgb, alone=False)
        with torch.inference_mode():
            parts = iter(torch.split(model.look(prepared, self._condition), prepared.plan.counts))
        segments: list[TextSegment | MediaSegment] = [*self._between] if self.frames else []
        for each in prepared.plan.layout:
            if isinstance(each, str):
                segments += self._text([Piece("template", each)])
            else:
                number, places = self.frames % SOURCES, model.positions(prepared)
                segments.append(MediaSegment(next(parts), Modality.VIDEO, number, frame.time, positions=places))
        self._read(self.cache, segments)
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
        return say(self._on(fork), request, self._speech.tokenizer, cancelled=cancelled, on_text=on_text)

    def logits(self, question: str) -> Tensor:
        """(vocabulary,) of the first token of the reply to ``question``, for those who decide by a probability."""
        fork, last = self._asked(question)
        return self._on(fork).read([last])

    def _on(self, cache: KVCache) -> DecoderSession:
        return DecoderSession(self._model, cache, features=self._features)

    def _asked(self, question: str) -> tuple[KVCache, int]:
        """A copy of the memory that has read the question but for its last token, and that token."""
        *asked, last = self._text(self._around(question)[2])
        fork = self.cache.fork(capacity=self.cache.capacity)
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
                sequence = self._model.joined(segments, start=float(cache.next_position[0]))
            self._on(cache).read(sequence)


def _frames(cache: KVCache) -> int:
    """How many frames a session has read into it: one more than the newest's number."""
    entries = next(filter(None, map(cache.entries, range(len(cache.shapes)))), None)
    if entries is None or not bool((shown := entries.valid & (entries.modality == Modality.VIDEO)).any()):
        return 0
    return int(entries.source.flatten()[entries.number.masked_fill(~shown, -1).argmax()]) + 1
