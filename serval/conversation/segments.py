"""One sequence from stretches of text and media."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from serval.conversation.sequence import Modality, MultimodalSequence, expand_labels


@dataclass(frozen=True)
class TextSegment:
    """Token ids; ``learn`` if the model is to produce them, ``time`` in seconds if they were said at one.

    ``source`` is the medium that they belong to, as a question does to its picture; -1 for none.
    """

    ids: Sequence[int]
    learn: bool = False
    time: float | None = None
    source: int = -1


@dataclass(frozen=True, eq=False)
class MediaSegment:
    """One media item, encoded.

    Attributes:
        features: (count, width) embeddings in the width of the language model.
        modality: what it is.
        source: its number in the sequence.
        time: seconds on the stream's clock: one for all, or (count,) one for each token.
        step: how far the position moves with each token, beginning with the first; what follows goes on at the whole
            number after the last. Below 1, long media take little of the context (V2PE, Ge et al. 2024, arXiv:2412.09616:
            256ths).
        positions: (count,) or (count, axes) instead, from where text would go on: 0 is there. What follows goes on at the
            whole number after the largest, on every axis (M-RoPE, Wang et al. 2024, arXiv:2409.12191: `grid_positions`).
    """

    features: Tensor
    modality: Modality
    source: int
    time: float | Tensor | None = None
    step: float = 1.0
    positions: Tensor | None = None


def grid_positions(frames: int, height: int, width: int, interval: float = 1.0) -> Tensor:
    """(frames * height * width, 3) positions of a grid of tokens, row by row: frame, row, column (Qwen2-VL).

    Args:
        interval: between two frames, rounded down at each (Qwen2.5-VL: positions a second, times seconds a frame).
    """
    time = torch.floor(torch.arange(frames, dtype=torch.float64) * interval)
    axes = (time, torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64))
    return torch.cartesian_prod(*axes)


def from_segments(
    segments: Sequence[TextSegment | MediaSegment],
    embed: Callable[[Tensor], Tensor],
    *,
    start: float = 0.0,
    media_labels: bool = False,
    device: torch.device | str | None = None,
) -> MultimodalSequence:
    """One after another as a batch of one: (1, length, …), all valid.

    Args:
        embed: (count,) int64 token ids → (count, width), called once with all text; media take its dtype and device.
        start: where text would begin. A text token's position is one after that of the token before it.
        media_labels: let media tokens name the text that follows them (`expand_labels`).
        device: where `embed` wants its ids.

    Raises:
        ValueError: features, times or positions of a media segment have the wrong shape.
    """
    all_ids = [id_ for each in segments if isinstance(each, TextSegment) for id_ in each.ids]
    text = embed(torch.tensor(all_ids, dtype=torch.int64, device=device))
    if not segments:
        raise ValueError("segments: none given, expected at least one")
    width, used, last = text.shape[1], 0, start - 1
    embeds: list[Tensor] = []  # plain lists for the rest: streams have hundreds of segments, and tensors are slow to make
    ids, learn, modality, source, time, position = [], [], [], [], [], []
    for each in segments:
        if isinstance(each, TextSegment):
            count, kind, its = len(each.ids), Modality.TEXT, list(each.ids)
            embeds.append(text[used : used + count])
            used += count
        else:
            count, kind, its = len(each.features), each.modality, [0] * len(each.features)
            if each.features.shape != (count, width) or kind == Modality.TEXT:
                raise ValueError(f"features: {tuple(each.features.shape)} of {kind.name}, expected media (count, {width})")
            embeds.append(each.features.to(text))
        ids += its
        learn += [isinstance(each, TextSegment) and each.learn] * count
        modality += [int(kind)] * count
        source += [each.source] * count
        time += _times(each.time, count)
        places = _places(each, count, last + 1)
        position += places
        if places:
            largest = max(max(place) if isinstance(place, list) else place for place in places)
            last = largest if kind == Modality.TEXT else math.ceil(largest)
    kinds, joined = torch.tensor(modality, dtype=torch.int64), torch.cat(embeds)
    ids_, learn_ = torch.tensor(ids, dtype=torch.int64), torch.tensor(learn, dtype=torch.bool)
    labels = expand_labels(ids_, learn_, kinds, media=media_labels)
    times = torch.tensor(time, dtype=torch.float64)
    rest = [
        kinds,
        torch.tensor(source, dtype=torch.int64),
        times,
        _spread(position),
        labels,
        torch.ones_like(kinds, dtype=torch.bool),
    ]
    return MultimodalSequence(joined[None], *(each[None].to(joined.device) for each in rest))


def _times(time: float | Tensor | None, count: int) -> list[float]:
    if not isinstance(time, Tensor):
        return [math.nan if time is None else time] * count
    if time.shape not in ((), (count,)):
        raise ValueError(f"time: {tuple(time.shape)}, expected one for all or ({count},)")
    return [float(each) for each in time.double().expand(count)] if time.ndim == 0 else time.double().tolist()


Place = float | list[float]
"""A position, or one on each axis."""


def _places(segment: TextSegment | MediaSegment, count: int, first: float) -> list[Place]:
    """(count,) or (count, axes), where text would go on at ``first``."""
    if isinstance(segment, TextSegment) or segment.positions is None:
        step = 1.0 if isinstance(segment, TextSegment) else segment.step
        return [first + (number * step - 1) for number in range(1, count + 1)]
    if segment.positions.ndim not in (1, 2) or len(segment.positions) != count:
        raise ValueError(f"positions: {tuple(segment.positions.shape)}, expected ({count},) or ({count}, axes)")
    places: list[Place] = (first + segment.positions.to("cpu", torch.float64)).tolist()
    return places


def _spread(places: Sequence[Place]) -> Tensor:
    """(length,) float32, or (length, axes) if any has axes: the others stand at the same place on each."""
    axes = {len(each) for each in places if isinstance(each, list)}
    if len(axes) > 1:
        raise ValueError(f"positions: of {sorted(axes)} axes, expected the same number everywhere")
    for count in axes:
        return torch.tensor(
            [each if isinstance(each, list) else [each] * count for each in places], dtype=torch.float64
        ).float()
    return torch.tensor(places, dtype=torch.float64).float()
