"""A stream followed by a model alone: it looks at frame after frame, speaks when it decides to, and answers when asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from serval.connectors.stream_layout import Segments
from serval.conversation.segments import TextSegment, from_segments
from serval.language.cache import KVCache
from serval.language.streaming_decisions import DecidingStream, Decision
from serval.refusal import Refusal


@dataclass(frozen=True, eq=False)
class Wake:
    """What is to be answered about: the newest frame.

    Attributes:
        number: of the frame, from 0.
        tokens: (tokens, width), as it was read.
        time: of the frame, in seconds.
        open: no words stand behind it, so its run of frames is to be closed.
        question: ids of what somebody asks; None where the model speaks of itself.
    """

    number: int
    tokens: Tensor
    time: float | None = None
    open: bool = True
    question: tuple[int, ...] | None = None


Prepare = Callable[[Wake], Segments]
"""What is read before an answer, from the end of the stream to the beginning of the assistant's words. Its media are numbered
from 0."""


class LiveStream:
    """One stream. What was said stays in the cache, so that the model knows what it has told already.

    Args:
        limit: tokens of an answer at the most.
        prepare: reads something else before the assistant's words, in a fork of the cache, as LION-FS's slow path does: the
            words then come from there, and the stream itself goes on with the plain words.

    Attributes:
        seen: frames so far.
        begins: whether the next frame is the first of a run of frames: at the start, and behind words.
    """

    def __init__(
        self,
        stream: DecidingStream,
        cache: int | KVCache,
        *,
        limit: int = 100,
        prepare: Prepare | None = None,
        seen: int = 0,
        begins: bool = True,
    ) -> None:
        """``cache``: an empty one, or the tokens that a new one holds; to go on with one, what it had come to."""
        if stream.layout.end is None:
            raise ValueError("To speak freely, a layout needs the token that ends what is said.")
        self.stream, self.seen, self.begins = stream, seen, begins
        self.cache = stream.decoder.new_cache(cache) if isinstance(cache, int) else cache
        self._limit, self._prepare = limit, prepare
        self._wake: Wake | None = None

    def frame(self, tokens: Tensor, time: float | None = None) -> tuple[Decision, list[int]]:
        """See a frame (tokens, width) at ``time`` seconds: what was decided, and the ids that it says, without the end.

        Raises:
            Refusal: the cache is full.
        """
        decision = self.see(tokens, time)
        return decision, self.say() if bool(decision.speak) else []

    @torch.inference_mode()
    def see(self, tokens: Tensor, time: float | None = None) -> Decision:
        """See a frame and decide, but say nothing. Raises as `frame`."""
        decision = self.stream.step(self.cache, tokens[None], begins=self.begins, time=time)
        self.begins, self._wake = False, Wake(self.seen, tokens, time)
        self.seen += 1
        return decision

    def ask(self, ids: Sequence[int], time: float | None = None) -> list[int]:
        """Somebody asks: the ids of the answer."""
        if self._prepare is None:
            self.told("user", ids, time)
            return self.say()
        said = self.think(ids)
        self.told("user", ids, time)
        self.told("assistant", [*said, int(self.stream.layout.end or 0)])
        return said

    @torch.inference_mode()
    def told(self, role: str, ids: Sequence[int], time: float | None = None) -> None:
        """Words that are only to be known: a request, or what the assistant said in fact, with its end."""
        layout = self.stream.layout
        self._read([*self._close(), *(layout.user if role == "user" else layout.assistant), *ids], time)

    @torch.inference_mode()
    def think(self, question: Sequence[int] | None = None) -> list[int]:
        """What it would say now, or answer: ids, without the end. The stream does not change."""
        layout = self.stream.layout
        asked = None if question is None else tuple(question)
        if self._prepare is not None and self._wake is not None:
            segments = self._prepare(replace(self._wake, open=not self.begins, question=asked))
        else:
            closing = () if self.begins else layout.closing
            turn = () if asked is None else (*layout.user, *asked)
            segments = [TextSegment([*closing, *turn, *layout.assistant])]
        logits, fork = self.stream.aside(self.cache, segments, reply=self._limit)
        return self._greedy(logits[0], fork)

    @torch.inference_mode()
    def say(self) -> list[int]:
        """Speak now: ids, without the end."""
        layout = self.stream.layout
        end = int(layout.end or 0)
        if self._prepare is not None:
            said = self.think()
            self.told("assistant", [*said, end])
            return said
        logits = self._read([*self._close(), *layout.assistant])
        said = self._greedy(logits, self.cache)
        self._read([end])
        return said

    def _close(self) -> tuple[int, ...]:
        closing = () if self.begins else self.stream.layout.closing
        self.begins = True
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
