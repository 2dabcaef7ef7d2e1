"""The streaming scores of VideoLLM-online (arXiv:2406.11816), which LION-FS uses too: one pass in which the truth is given.

A turn is what an assistant says and the frames before it. Of its n frames and m words (tokens) that have labels, K words are
predicted right before the first mistake. The model speaks at the first frame whose likeliest next token is not silence; that
frame is d frames before the last one, or -d after it:

    LM-PPL          exp(mean cross-entropy of the turn's words)
    LM-Correctness  K / m
    TimeDiff        |d| / frames a second
    Fluency         (n + K) / (n + m) where d = 0, (n - d) / (n + m) where early, (n - 1) / (n + m) where late

Each is a mean over a stream's turns, and then over streams. If no frame of the turn is spoken at, the answer is taken back and
the next turn's frames follow instead, at most n - 1 of them (the released code counts frames without labels too): spoken at the
j-th (from 0), d is -(j + 1); at none, d is minus their number. With no frames to follow d is 0, as the paper has it, so silence
until the end of a stream costs nothing.

Where nothing is to be measured there is NaN and no perfect score. An answer to a question that a person asked has no time and
no fluency: its moment was not the model's to choose, and silence was right at every labelled frame before it.

These scores forgive much: the model is put right after each mistake and is never late by more than a turn. See `free_running`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence, cat
from serval.evaluation.bootstrap import Interval, bootstrap
from serval.language.attention_pattern import CAUSAL, AttentionPattern
from serval.language.cache import KVCache
from serval.language.streaming_decisions import decide
from serval.refusal import Refusal

Logits = Callable[[Sequence[int]], Tensor]
"""Places in a sequence to what follows them, (places, vocabulary): those of a whole stream need not exist at once."""
Late = Callable[[int, Sequence[int]], Iterable[Tensor]]
"""Asked what follows the token at a place if frames, by number, come instead of an answer: (vocabulary,) logits behind each."""


class Layout(NamedTuple):
    """What stands where in a stream.

    Attributes:
        frames: places of the last token of each frame.
        ends: places of the token that ends each of the assistant's turns.
    """

    frames: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, sequence: MultimodalSequence, end: int) -> Layout:
        """Of one row in which all that the assistant says has labels. A frame is a run of image or video tokens of one source.

        Args:
            end: id of the token that ends a turn.
        """
        source, text = _frame_of(sequence), sequence.modality[0] == Modality.TEXT
        last = (source >= 0) & (source != functional.pad(source[1:], (0, 1), value=-1))
        ends = torch.nonzero(text & (sequence.labels[0] == end) & sequence.valid[0])[:, 0] + 1
        return cls(tuple(torch.nonzero(last)[:, 0].tolist()), tuple(ends.tolist()))


@dataclass(frozen=True)
class TurnScore:
    """One turn; None where it has nothing to measure.

    Attributes:
        perplexity, correctness, fluency: see above.
        shift: d, in frames: positive where it spoke early, negative where late.
    """

    perplexity: float | None
    correctness: float | None
    shift: int | None
    fluency: float | None


@dataclass(frozen=True)
class StreamScore:
    """One stream, or the mean over several: means over turns, NaN without any.

    Attributes:
        perplexity, fluency, correctness: see above.
        time_difference: seconds.
    """

    perplexity: float
    time_difference: float
    fluency: float
    correctness: float


def score_turns(
    logits: Tensor | Logits, labels: Tensor, layout: Layout, late: Late, *, silence: int, threshold: float = 0.0
) -> list[TurnScore]:
    """The turns of one stream in which anything has a label.

    Args:
        logits: (length, vocabulary), what follows each token, or a function that makes those that are asked for.
        labels: (length,) int64, `IGNORED` where nothing is learned.
        late: what follows if the assistant stays silent.
        silence: id of the token that frames are followed by while nothing is said.
        threshold: as in `decide`.

    Raises:
        ValueError: lengths differ, or a place is outside.
    """
    if isinstance(logits, Tensor) and (logits.ndim != 2 or labels.shape != logits.shape[:1]):
        raise ValueError(f"logits: {tuple(logits.shape)} and labels {tuple(labels.shape)}, expected (length, …) and (length,)")
    at: Logits = logits.__getitem__ if isinstance(logits, Tensor) else logits
    if any(not 0 <= place < len(labels) for place in layout.frames) or any(not 0 < end <= len(labels) for end in layout.ends):
        raise ValueError(f"layout: places outside of {len(labels)} tokens")
    learned, media = labels.cpu() != IGNORED, torch.zeros(len(labels), dtype=torch.bool)
    media[list(layout.frames)] = True
    spans = list(pairwise((0, *layout.ends)))
    runs = [[number for number, place in enumerate(layout.frames) if start <= place < stop] for start, stop in spans]
    made = []
    for turn, (start, stop) in enumerate(spans):
        frames, words = (
            (torch.nonzero(learned[start:stop] & kind[start:stop])[:, 0] + start).tolist() for kind in (media, ~media)
        )
        if not frames and not words:
            continue
        perplexity = right = None
        if words:
            said, true = at(words).float(), labels[words]
            perplexity = float(functional.cross_entropy(said, true.to(said.device)).exp())
            right = int((said.argmax(-1) == true.to(said.device)).long().cumprod(0).sum())
        shift = None
        if frames and int(labels[frames[-1]]) != silence:
            spoken = torch.nonzero(decide(at(frames), silence, threshold).speak)
            following = runs[turn + 1][: len(frames) - 1] if turn + 1 < len(runs) else []
            if len(spoken):
                shift = len(frames) - 1 - int(spoken[0])
            else:
                shift = -_waited(late(frames[-1], following), silence, threshold) if following else 0
        fluency = None
        if shift is not None and right is not None:
            good = len(frames) + (right if shift == 0 else -shift if shift > 0 else -1)
            fluency = good / (len(frames) + len(words))
        made.append(TurnScore(perplexity, None if right is None else right / len(words), shift, fluency))
    return made


def stream_score(turns: Sequence[TurnScore], fps: float) -> StreamScore:
    """The means over one stream's turns, which were watched at ``fps`` frames a second."""
    return StreamScore(
        _mean([turn.perplexity for turn in turns]),
        _mean([None if turn.shift is None else abs(turn.shift) / fps for turn in turns]),
        _mean([turn.fluency for turn in turns]),
        _mean([turn.correctness for turn in turns]),
    )


def mean_scores(scores: Sequence[StreamScore], *, seed: int, rounds: int = 1000) -> dict[str, Interval]:
    """Each score's mean over streams, with its 95 % bootstrap interval over streams. Streams without it are left out."""

    def interval(name: str) -> Interval:
        values = np.array([getattr(score, name) for score in scores])
        return bootstrap(len(values), lambda drawn: _mean(values[drawn]), seed=seed, rounds=rounds)

    return {each.name: interval(each.name) for each in fields(StreamScore)}


@torch.no_grad()
def score_stream(
    decoder: Any,
    sequence: MultimodalSequence,
    *,
    silence: int,
    end: int,
    fps: float,
    separator: Sequence[int] = (),
    layout: Layout | None = None,
    threshold: float = 0.0,
    pattern: AttentionPattern = CAUSAL,
    streamed: bool = False,
) -> StreamScore:
    """Read one stream with a `Decoder` and score it.

    Args:
        sequence: one row with its labels.
        separator: ids that stand before every further frame of a run (`StreamLayout.separator`).
        layout: where turns end, if not all that is said has labels.
        streamed: read frame by frame instead of in one go. The scores are the same.

    Raises:
        ValueError: several rows, or a decoder that drops tokens for good.
    """
    if sequence.batch != 1:
        raise ValueError(f"sequence: {sequence.batch} rows, expected one")
    layout = layout or Layout.of(sequence, end)
    cache = decoder.new_cache(2 * sequence.length + 1)
    cuts = sorted({0, sequence.length, *(place + 1 for place in layout.frames if streamed)})
    parts = [decoder.states(sequence.slice(*cut), cache, pattern=pattern) for cut in pairwise(cuts)]
    states = torch.cat(parts, 1)[0]
    if len(states) != sequence.length:
        raise ValueError(f"states: {len(states)}, expected one for each of {sequence.length} tokens")
    late = late_frames(decoder, sequence, layout, cache, separator, pattern)
    labels = sequence.labels[0].masked_fill(~sequence.valid[0], IGNORED)
    turns = score_turns(
        lambda places: decoder.logits(states[places]), labels, layout, late, silence=silence, threshold=threshold
    )
    return stream_score(turns, fps)


def late_frames(
    decoder: Any,
    sequence: MultimodalSequence,
    layout: Layout,
    cache: KVCache,
    separator: Sequence[int] = (),
    pattern: AttentionPattern = CAUSAL,
) -> Late:
    """Frames follow where an answer stood, at the positions that they would then have. ``cache`` holds all of ``sequence``."""
    source = _frame_of(sequence)

    def until(place: int) -> KVCache:
        try:
            return cache.fork(place + 1)
        except Refusal:  # layers that skip tokens or remember by a state cannot go back
            memory: KVCache = decoder.new_cache(cache.capacity)
            decoder(sequence.slice(0, place + 1), memory, pattern=pattern, last=True)
            return memory

    def late(place: int, frames: Sequence[int]) -> Iterator[Tensor]:
        memory = until(place)
        for number in frames:
            stop = layout.frames[number] + 1
            before = torch.nonzero(source[:stop] != source[stop - 1])
            frame = sequence.slice(int(before[-1]) + 1 if len(before) else 0, stop)
            here = memory.next_position.to(frame.position).view((1,) * frame.position.ndim)
            pieces = [replace(frame, position=frame.position - frame.position[:, :1] + here + len(separator))]
            if separator:
                text = decoder.sequence(torch.tensor([list(separator)], device=decoder.device))
                axes = frame.position.shape[2:]
                steps = text.position.view(1, -1, *(1 for _ in axes))
                pieces.insert(0, replace(text, position=(here + steps).expand(-1, -1, *axes).contiguous()))
            yield decoder(cat(pieces), memory, pattern=pattern)[0, -1]

    return late


def _waited(late: Iterable[Tensor], silence: int, threshold: float) -> int:
    """How many of the frames that follow it takes until one is spoken at; all of them if none is."""
    waited = 0
    for each in late:
        waited += 1
        if bool(decide(each, silence, threshold).speak):
            break
    return waited


def _frame_of(sequence: MultimodalSequence) -> Tensor:
    """(length,) source of each token of a frame, -1 for other tokens: text may belong to a frame without being of it."""
    visual = (sequence.modality == Modality.IMAGE) | (sequence.modality == Modality.VIDEO)
    return torch.where(visual & sequence.valid, sequence.source, -1)[0]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
