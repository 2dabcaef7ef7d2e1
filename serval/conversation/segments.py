"""One sequence from stretches of text and media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from serval.conversation.sequence import Modality, MultimodalSequence, expand_labels


@dataclass(frozen=True)
class TextSegment:
    """Token ids; ``learn`` if the model is to produce them, ``time`` in seconds if they were said at one."""

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
        step: how far the position moves with each token; below 1, long media take little of the context
            (V2PE, Ge et al. 2024).
    """

    features: Tensor
    modality: Modality
    source: int
    time: float | Tensor | None = None
    step: float = 1.0


def from_segments(
    segments: Sequence[TextSegment | MediaSegment],
    embed: Callable[[Tensor], Tensor],
    *,
    start: float = 0.0,
    media_labels: bool = False,
) -> MultimodalSequence:
    """One after another as a batch of one: (1, length, …), all valid.

    Args:
        embed: (count,) int64 token ids → (count, width), called once with all text; media take its dtype and device.
        start: position of the first token. A token's position is that of the one before it plus that one's step.
        media_labels: let media tokens name the text that follows them (`expand_labels`).

    Raises:
        ValueError: features or times of a media segment have the wrong shape.
    """
    text = embed(
        torch.tensor([id_ for each in segments if isinstance(each, TextSegment) for id_ in each.ids], dtype=torch.int64)
    )
    width, used = text.shape[1], 0
    embeds, ids, learn, modality, source, time, step = [], [], [], [], [], [], []
    for each in segments:
        if isinstance(each, TextSegment):
            count, kind, speed = len(each.ids), Modality.TEXT, 1.0
            embeds.append(text[used : used + count])
            ids.append(torch.tensor(each.ids, dtype=torch.int64))
            used += count
        else:
            count, kind, speed = len(each.features), each.modality, each.step
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
        step.append(torch.full((count,), speed, dtype=torch.float64))
    if not embeds:
        raise ValueError("segments: none given, expected at least one")
    steps, kinds = torch.cat(step), torch.cat(modality)
    position = start + torch.cat([steps.new_zeros(1), torch.cumsum(steps, 0)[:-1]])[: len(steps)]
    labels = expand_labels(torch.cat(ids), torch.cat(learn), kinds, media=media_labels)
    rest = [kinds, torch.cat(source), torch.cat(time), position.float(), labels, torch.ones_like(kinds, dtype=torch.bool)]
    joined = torch.cat(embeds)
    return MultimodalSequence(joined[None], *(each[None].to(joined.device) for each in rest))
