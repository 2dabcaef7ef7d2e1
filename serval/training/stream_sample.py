"""A stream to learn from: what each frame is, what is said behind it, and what is to be decided there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from serval.connectors.stream_layout import Segments, StreamLayout
from serval.conversation.segments import TextSegment, from_segments
from serval.conversation.sequence import IGNORED, MultimodalSequence, pad_batch
from serval.language.decoder import Decoder
from serval.training.objectives.streaming import streaming_labels


@dataclass(frozen=True)
class Words:
    """What is said behind a frame, in token ids; an assistant's with the token that ends them."""

    frame: int
    role: Literal["user", "assistant"]
    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class StreamSample:
    """One stream.

    Attributes:
        features: of each tower, (frames, tokens, width).
        decisions: (frames,) int64: silence, to speak, or `IGNORED`.
        words: in order.
        fps: frames a second.
    """

    features: tuple[Tensor, ...]
    decisions: Tensor
    words: tuple[Words, ...]
    fps: float

    def __len__(self) -> int:
        return len(self.decisions)


class Streamed(Protocol):
    """A model that reads streams: VideoLLM-online, LION-FS."""

    decoder: Decoder
    layout: StreamLayout

    def frames(self, features: Sequence[Tensor]) -> Tensor:
        """What the decoder reads of each frame, (frames, tokens, its width), from what each tower saw of it."""
        ...


def dialogue(layout: StreamLayout, frames: Sequence[Tensor], sample: StreamSample) -> Segments:
    """The stream as it is read: runs of frames (tokens, width), and words between them; the assistant's are learned."""
    segments: Segments = []
    begins, start = True, 0

    def show(stop: int) -> None:
        nonlocal begins, start
        if stop > start:
            times = [number / sample.fps for number in range(start, stop)]
            segments.extend(layout.frames(frames[start:stop], source=start, times=times, begins=begins))
            begins, start = False, stop

    for words in sample.words:
        show(words.frame + 1)
        time = words.frame / sample.fps
        if not begins:  # words close a run of frames; between two turns there is none
            segments.append(TextSegment(layout.closing))
        opens = layout.user if words.role == "user" else layout.assistant
        segments.append(TextSegment(opens, time=time))
        segments.append(TextSegment(words.ids, learn=words.role == "assistant", time=time))
        begins = True
    show(len(sample))
    return segments


def as_streams(model: Any, batch: Any) -> MultimodalSequence:
    """Streams as one padded sequence (batch, length) with the labels of words and frames: an objective's ``sequence``.

    To stay silent is taught as the layout's separator, to speak as the first token of what closes a run of frames.

    Args:
        model: `Streamed`.
        batch: ``{"streams": [StreamSample, …]}``, or the samples alone.
    """
    samples: Sequence[StreamSample] = batch["streams"] if isinstance(batch, Mapping) else batch
    decoder, layout = model.decoder, model.layout
    rows = []
    for sample in samples:
        frames = model.frames([each.to(device=decoder.device, dtype=decoder.dtype) for each in sample.features])
        rows.append(from_segments(dialogue(layout, list(frames), sample), decoder.embed, device=decoder.device))
    sequence = pad_batch(rows)
    longest = max(len(sample) for sample in samples)
    targets = torch.full((len(samples), longest), IGNORED)
    for row, sample in enumerate(samples):
        targets[row, : len(sample)] = sample.decisions
    return streaming_labels(sequence, targets.to(decoder.device), layout.sentinels)
