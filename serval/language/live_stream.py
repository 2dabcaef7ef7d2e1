"""A stream followed by a model alone: it looks at frame after frame, speaks when it decides to, and answers when asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from serval.connectors.stream_layout import Segments
from serval.conversation.segments import TextSegment, from_segments
from serval.language.cache import KVCache
from serval.language.streaming_decisions import DecidingStream, Decision
from serval.refusal import Refusal

Prepare = Callable[[int, Tensor], Segments]
"""What is read before an answer about a frame, from the frame's number and its tokens (tokens, width)."""


class LiveStream:
    """One stream. What was said stays in the cache, so that the model knows what it has told already.

    Args:
        limit: tokens of an answer at the most.
        prepare: reads something else before the assistant's words, in a fork of the cache, as LION-FS's slow path does: the
            words then come from there, and the stream itself goes on with the plain words.

    Attributes:
        seen: frames so far.
    """

    def __init__(self, stream: DecidingStream, capacity: int, *, limit: int = 100, prepare: Prepare | None = None) -> None:
        if stream.layout.end is None:
            raise ValueError("To speak freely, a layout needs the token that ends what is said.")
        self.stream, self.cache, self.seen = stream, stream.decoder.new_cache(capacity), 0
        self._limit, self._prepare, self._begins = limit, prepare, True
        self._frame: Tensor | None = None

    @torch.inference_mode()
    def frame(self, tokens: Tensor, time: float | None = None) -> tuple[Decision, list[int]]:
        """See a frame (tokens, width) at ``time`` seconds: what was decided, and the ids that it says, without the end.

        Raises:
            Refusal: the cache is full.
        """
        decision = self.stream.step(self.cache, tokens[None], begins=self._begins, time=time)
        self._begins, self._frame = False, tokens
        self.seen += 1
        return decision, self.say() if bool(decision.speak) else []

    @torch.inference_mode()
    def ask(self, ids: Sequence[int], time: float | None = None) -> list[int]:
        """Somebody asks: the ids of the answer."""
        self.told("user", ids, time)
        return self.say()

    @torch.inference_mode()
    def told(self, role: str, ids: Sequence[int], time: float | None = None) -> None:
        """Words that are only to be known: a request, or what the assistant said in fact, with its end."""
        layout = self.stream.layout
        self._read([*self._close(), *(layout.user if role == "user" else layout.assistant), *ids], time)

    @torch.inference_mode()
    def say(self) -> list[int]:
        """Speak now: ids, without the end."""
        layout = self.stream.layout
        if self._prepare is not None and self._frame is not None:
            logits, fork = self.stream.aside(self.cache, self._prepare(self.seen, self._frame), reply=self._limit)
            said = self._greedy(logits[0], fork)
            self._read([*self._close(), *layout.assistant, *said, int(layout.end or 0)])
            return said
        logits = self._read([*self._close(), *layout.assistant])
        said = self._greedy(logits, self.cache)
        self._read([int(layout.end or 0)])
        return said

    def _close(self) -> tuple[int, ...]:
        closing = () if self._begins else self.stream.layout.closing
        self._begins = True
        return closing

    def _greedy(self, logits: Tensor, cache: KVCache) -> list[int]:
        said: list[int] = []
        while len(said) < self._limit and (best := int(logits.argmax())) != self.stream.layout.end:
            if not bool(torch.isfinite(logits).all()):
                raise Refusal("the model", "its numbers are not finite", "check its weights")
            said.append(best)
            logits = self._read([best], cache=cache)
        return said

    def _read(self, ids: Sequence[int], time: float | None = None, cache: KVCache | None = None) -> Tensor:
        cache = self.cache if cache is None else cache
        decoder, start = self.stream.decoder, float(cache.next_position)
        sequence = from_segments([TextSegment(ids, time=time)], decoder.embed, start=start, device=decoder.device)
        return decoder(sequence, cache, last=True)[0, 0]
