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
    width, used, last = text.shape[1], 0, start - 1
    embeds, ids, learn, modality, source, time, position = [], [], [], [], [], [], []
    for each in segments:
        if isinstance(each, TextSegment):
            count, kind = len(each.ids), Modality.TEXT
            embeds.append(text[used : used + count])
            ids.append(torch.tensor(each.ids, dtype=torch.int64))
            used += count
        else:
            count, kind = len(each.features), each.modality
            if each.features.shape != (count, width) or kind == Modality.TEXT:
                raise ValueError(f"features: {tuple(each.features.shape)} of {kind.name}, expected media (count, {width})")
            embeds.append(each.features.to(text))
            ids.append(torch.zeros(count, dtype=torch.int64))
        when = torch.as_tensor(float("nan") if each.time is None else each.time, dtype=torch.float64, device="cpu")
        if when.shape not in ((), (count,)):
            raise ValueError(f"time: {tuple(when.shape)}, expected one for all or ({count},)")
        learn.append(torch.full((count,), isinstance(each, TextSegment) and each.learn))
        modality.append(torch.full((count,), int(kind)))
        source.append(torch.full((count,), each.source))
        time.append(when.expand(count))
        position.append(last + 1 + _places(each, count))
        if count:
            last = float(position[-1].max()) if kind == Modality.TEXT else math.ceil(position[-1].max())
    if not embeds:
        raise ValueError("segments: none given, expected at least one")
    kinds, joined = torch.cat(modality), torch.cat(embeds)
    labels = expand_labels(torch.cat(ids), torch.cat(learn), kinds, media=media_labels)
    rest = [kinds, torch.cat(source), torch.cat(time), _cat(position), labels, torch.ones_like(kinds, dtype=torch.bool)]
    return MultimodalSequence(joined[None], *(each[None].to(joined.device) for each in rest))


def _places(segment: TextSegment | MediaSegment, count: int) -> Tensor:
    """(count,) or (count, axes) float64, counted from where text would go on."""
    if isinstance(segment, TextSegment) or segment.positions is None:
        step = 1.0 if isinstance(segment, TextSegment) else segment.step
        return torch.arange(1, count + 1, dtype=torch.float64) * step - 1
    if segment.positions.ndim not in (1, 2) or len(segment.positions) != count:
        raise ValueError(f"positions: {tuple(segment.positions.shape)}, expected ({count},) or ({count}, axes)")
    return segment.positions.to("cpu", torch.float64)


def _cat(positions: Sequence[Tensor]) -> Tensor:
    """(length,), or (length, axes) if any has axes: the others stand at the same place on each."""
    axes = {each.shape[1] for each in positions if each.ndim == 2}
    if len(axes) > 1:
        raise ValueError(f"positions: of {sorted(axes)} axes, expected the same number everywhere")
    spread = [each[:, None].expand(-1, *axes) if axes and each.ndim == 1 else each for each in positions]
    return torch.cat(spread).float()
