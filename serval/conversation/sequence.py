"""A batch of tokens that knows what each token came from, where in the input, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

IGNORED = -100  # the label of a token that predicts nothing we train on; torch's cross entropy leaves it out
Side = Literal["left", "right"]


class Modality(IntEnum):
    """What a token came from."""

    TEXT = 0
    IMAGE = 1
    VIDEO = 2
    AUDIO = 3
    REGION = 4


@dataclass(frozen=True, eq=False)
class MultimodalSequence:
    """What a decoder reads. Every tensor is on one device; shapes and kinds are checked when one is made.

    Attributes:
        embeds: (batch, length, width) floats, the only field that follows a change of dtype and carries gradients.
        modality: (batch, length) int64, `Modality`.
        source: (batch, length) int64, which media item, frame or turn a token is of; -1 for plain text. Text with a source
            belongs to that medium, as a question does to its picture (AKI): patterns of attention let a medium see it.
        time: (batch, length) float64 seconds on the stream's clock, NaN where there is none. Double, because float32
            is 8 ms coarse after a day.
        position: (batch, length) or (batch, length, axes) float32 rotary positions; whole, fractional (V2PE), several
            axes, and unchanged by `slice` and `select`.
        labels: (batch, length) int64, the id of the token that follows, `IGNORED` where nothing is to be learned.
        valid: (batch, length) bool, False at padding.

    Raises:
        ValueError: a field does not fit the others; it is named.
    """

    embeds: Tensor
    modality: Tensor
    source: Tensor
    time: Tensor
    position: Tensor
    labels: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        if self.embeds.ndim != 3 or not self.embeds.is_floating_point():
            raise ValueError(f"embeds: {_describe(self.embeds)}, expected floats (batch, length, width)")
        for name, dtype in _DTYPES.items():
            tensor: Tensor = getattr(self, name)
            ranks = (2, 3) if name == "position" else (2,)
            if tensor.shape[:2] != self.embeds.shape[:2] or tensor.ndim not in ranks or tensor.dtype != dtype:
                raise ValueError(f"{name}: {_describe(tensor)}, expected {dtype} {tuple(self.embeds.shape[:2])}")
            if tensor.device != self.embeds.device:
                raise ValueError(f"{name}: on {tensor.device}, but embeds is on {self.embeds.device}")

    @property
    def batch(self) -> int:
        return self.embeds.shape[0]

    @property
    def length(self) -> int:
        return self.embeds.shape[1]

    @property
    def width(self) -> int:
        return self.embeds.shape[2]

    def slice(self, start: int | None = None, stop: int | None = None) -> MultimodalSequence:
        """Tokens ``start`` to ``stop`` of every row, counted as Python does: (batch, stop - start, …), views."""
        return self._each(lambda tensor: tensor[:, start:stop])

    def row(self, index: int) -> MultimodalSequence:
        """One row as a batch of one: (1, length, …), views."""
        if not -self.batch <= index < self.batch:
            raise IndexError(f"row {index} of a batch of {self.batch}")
        index %= self.batch
        return self._each(lambda tensor: tensor[index : index + 1])

    def select(self, mask: Tensor, side: Side = "right") -> MultimodalSequence:
        """The tokens where ``mask`` (batch, length) bool holds, in order, each with the position it had.

        Rows that keep fewer than the longest are padded on ``side``: (batch, most kept in a row, …).
        """
        if mask.shape != self.valid.shape or mask.dtype != torch.bool:
            raise ValueError(f"mask: {_describe(mask)}, expected torch.bool {tuple(self.valid.shape)}")
        kept = mask.sum(dim=1, keepdim=True)  # (batch, 1)
        longest = int(kept.max()) if self.batch else 0
        rank = torch.arange(longest, device=mask.device)[None]
        if side == "right":
            order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, :longest]
            real = rank < kept
        else:
            order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)[:, self.length - longest :]
            real = rank >= longest - kept
        taken = {}
        for name, fill in _FILL.items():
            tensor: Tensor = getattr(self, name)
            shape = (...,) + (None,) * (tensor.ndim - 2)
            value = tensor.gather(1, order[shape].expand(-1, -1, *tensor.shape[2:]))
            taken[name] = value.masked_fill(~real[shape], fill)
        return MultimodalSequence(**taken)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> MultimodalSequence:
        """On another device; ``dtype`` (a float) is that of ``embeds`` alone, so times, labels and masks stay exact."""
        moved = self._each(lambda tensor: tensor.to(device=device))
        return replace(moved, embeds=moved.embeds.to(dtype=dtype))

    def _each(self, change: Callable[[Tensor], Tensor]) -> MultimodalSequence:
        return MultimodalSequence(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


_DTYPES = {
    "modality": torch.int64,
    "source": torch.int64,
    "time": torch.float64,
    "position": torch.float32,
    "labels": torch.int64,
    "valid": torch.bool,
}
_FILL: dict[str, float] = {  # what stands at padding
    "embeds": 0.0,
    "modality": Modality.TEXT,
    "source": -1,
    "time": float("nan"),
    "position": 0.0,
    "labels": IGNORED,
    "valid": False,
}


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def cat(sequences: Sequence[MultimodalSequence]) -> MultimodalSequence:
    """One after another along length: (batch, sum of lengths, …). Positions and labels stay as they are.

    Raises:
        ValueError: there is none, or they differ in batch, width, dtype or position axes.
    """
    _alike(sequences, "batch")
    return MultimodalSequence(**{name: torch.cat([getattr(each, name) for each in sequences], dim=1) for name in _FILL})


def pad_batch(sequences: Sequence[MultimodalSequence], side: Side = "right") -> MultimodalSequence:
    """One under another, padded on ``side`` to the longest: (sum of batches, longest, …).

    Raises:
        ValueError: there is none, or they differ in width, dtype or position axes.
    """
    _alike(sequences)
    longest = max(each.length for each in sequences)
    padded = {}
    for name, fill in _FILL.items():
        rows = []
        for each in sequences:
            tensor: Tensor = getattr(each, name)
            pad = tensor.new_full((tensor.shape[0], longest - tensor.shape[1], *tensor.shape[2:]), fill)
            rows.append(torch.cat([tensor, pad] if side == "right" else [pad, tensor], dim=1))
        padded[name] = torch.cat(rows)
    return MultimodalSequence(**padded)


def _alike(sequences: Sequence[MultimodalSequence], *also: str) -> None:
    if not sequences:
        raise ValueError("sequences: none given, expected at least one")
    for left, right in pairwise(sequences):
        if any(getattr(left, name) != getattr(right, name) for name in ("width", *also)):
            raise ValueError(f"embeds: {_describe(left.embeds)} and {_describe(right.embeds)} do not fit together")
        if left.embeds.dtype != right.embeds.dtype:
            raise ValueError(f"embeds: {left.embeds.dtype} and {right.embeds.dtype} do not fit together")
        if left.position.shape[2:] != right.position.shape[2:]:
            raise ValueError(f"position: {_describe(left.position)} and {_describe(right.position)} differ in axes")


def scatter_media(sequence: MultimodalSequence, media: Sequence[Mapping[int, Tensor]]) -> MultimodalSequence:
    """Put media embeddings where their placeholders stand; gradients reach them.

    Args:
        media: for each row, source number → (count, width). The placeholders of a source are its valid tokens that are not
            text, and there must be ``count`` of them. Sources that are not given keep what they have.

    Raises:
        ValueError: rows, counts or widths do not agree; the row and source are named.
    """
    if len(media) != sequence.batch:
        raise ValueError(f"media: for {len(media)} rows, expected {sequence.batch}")
    embeds, holes = sequence.embeds, sequence.valid & (sequence.modality != Modality.TEXT)
    rows, columns, values = [], [], []
    for row, items in enumerate(media):
        for source, features in items.items():
            (where,) = torch.nonzero(holes[row] & (sequence.source[row] == source), as_tuple=True)
            if features.shape != (len(where), sequence.width):
                raise ValueError(
                    f"media: row {row}, source {source} has features {tuple(features.shape)}, "
                    f"expected {(len(where), sequence.width)}: one for each placeholder"
                )
            rows.append(torch.full_like(where, row))
            columns.append(where)
            values.append(features.to(embeds))
    if not values:
        return sequence
    return replace(sequence, embeds=embeds.index_put((torch.cat(rows), torch.cat(columns)), torch.cat(values)))


def expand_labels(ids: Tensor, learn: Tensor, modality: Tensor, *, media: bool = False) -> Tensor:
    """Next-token targets of a sequence in which each media item already has all its tokens.

    Args:
        ids: (…, length) int64 token ids; anything at media tokens.
        learn: (…, length) bool, which tokens the model is to produce.
        modality: (…, length) int64.
        media: also let a media token name the text that follows it.

    Returns:
        (…, length) int64: at p the id of the token at p + 1 where that is text to be learned, else `IGNORED`.
    """
    text = modality == Modality.TEXT
    taught = learn[..., 1:] & text[..., 1:]
    if not media:
        taught = taught & text[..., :-1]
    labels = torch.full_like(ids, IGNORED)
    labels[..., :-1] = ids[..., 1:].masked_fill(~taught, IGNORED)
    return labels
