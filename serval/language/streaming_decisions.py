"""Whether to speak, asked of a language model at every frame: the chance that it says anything but the token of silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from serval.connectors.stream_layout import Segments, StreamLayout
from serval.conversation.segments import from_segments
from serval.conversation.sequence import MultimodalSequence, pad_batch
from serval.language.cache import KVCache
from serval.language.decoder import Decoder


class Decision(NamedTuple):
    """What follows from the logits behind a frame's last token.

    Attributes:
        p_speak: (…) float32, 1 - p(silence).
        speak: (…) bool.
        token: (…) int64, what is said: silence, or the likeliest of the others.
    """

    p_speak: Tensor
    speak: Tensor
    token: Tensor


def decide(logits: Tensor, silence: int, threshold: float = 0.725) -> Decision:
    """From logits (…, vocabulary): speak where silence is less likely than ``threshold``, or not the likeliest.

    VideoLLM-online's correction (Chen et al. 2024, arXiv:2406.11816): models learn from streams that are mostly silent, so
    silence has to be sure of itself. A higher threshold never speaks less. 0 asks only for the likeliest token.
    """
    chances = logits.float().softmax(-1)
    silent = chances[..., silence]
    others = chances.clone()
    others[..., silence] = -1.0
    token = torch.where(silent[..., None] < threshold, others, chances).argmax(-1)
    return Decision(1 - silent, token != silence, token)


@dataclass(frozen=True)
class DecidingStream:
    """A decoder that reads frame after frame and decides behind each: VideoLLM-online's loop, and LION-FS's fast path.

    What is known of the stream is in the cache, so that ``step`` is a function of it and the frame. Frames in one pass give the
    same decisions as one by one, also with `TokenSkipping` layers.

    Attributes:
        threshold: as in `decide`.
    """

    decoder: Decoder
    layout: StreamLayout
    threshold: float = 0.725

    def step(self, cache: KVCache, frame: Tensor, *, begins: bool = False, time: float | None = None) -> Decision:
        """Read a frame (batch, tokens, width) at ``time`` seconds, and decide: (batch,).

        With ``begins`` it is the first frame, or the first after words, and a run of frames is opened.

        Raises:
            Refusal: the cache is full.
        """
        sequence = self._frames(frame[:, None], cache, begins, None if time is None else [time])
        return decide(self.decoder(sequence, cache, last=True)[:, 0], self.layout.silence, self.threshold)

    def at_once(
        self, frames: Tensor, cache: KVCache | None = None, *, begins: bool = True, times: Sequence[float] | None = None
    ) -> Decision:
        """Read frames (batch, frames, tokens, width) in one pass and decide behind each: (batch, frames)."""
        sequence = self._frames(frames, cache, begins, times)
        last, every = len(self.layout.opening if begins else self.layout.separator) + frames.shape[2] - 1, frames.shape[2]
        ends = last + torch.arange(frames.shape[1], device=self.decoder.device) * (every + len(self.layout.separator))
        return decide(self.decoder.logits(self.decoder.states(sequence, cache)[:, ends]), self.layout.silence, self.threshold)

    def aside(self, cache: KVCache, segments: Segments, *, reply: int = 0) -> tuple[Tensor, KVCache]:
        """Logits (1, vocabulary) behind ``segments``, read in a fork with room for a ``reply`` of as many tokens; and the fork.

        The stream's own cache does not change, and so no decision does: LION-FS's slow path, which only answers. Media are
        numbered from 0 in ``segments``; here they come behind all that the stream has.
        """
        start = float(cache.next_position)
        sequence = from_segments(segments, self.decoder.embed, start=start, device=self.decoder.device)
        sequence = replace(sequence, source=sequence.source + cache.length * (sequence.source >= 0))
        fork = cache.fork(capacity=cache.length + sequence.length + reply)
        return self.decoder(sequence, fork, last=True)[:, 0], fork

    def _frames(self, frames: Tensor, cache: KVCache | None, begins: bool, times: Sequence[float] | None) -> MultimodalSequence:
        """(batch, …) of frames (batch, frames, tokens, width), behind what the cache holds."""
        starts = [0.0] * len(frames) if cache is None else cache.next_position.tolist()
        source = 0 if cache is None else cache.length  # tokens read so far: a number that no medium before has
        rows = []
        for row, start in zip(frames, starts, strict=True):
            segments = self.layout.frames(list(row), source=source, times=times, begins=begins)
            rows.append(from_segments(segments, self.decoder.embed, start=start, device=self.decoder.device))
        return pad_batch(rows)
