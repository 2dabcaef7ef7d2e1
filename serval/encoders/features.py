"""What a tower saw or heard, in one form for all of them, and the one protocol that towers follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Grid = tuple[int, int]
"""Rows, columns."""

Item = TypeVar("Item", contravariant=True)


@dataclass(frozen=True)
class Batch:
    """Pictures or sounds, prepared for one tower.

    Attributes:
        values: (batch, 3, height, width) for pictures; whatever the tower reads for sounds, batch first.
        seconds: (batch,) float64, how long each sound is without its padding. None for pictures, and for sounds without any.
    """

    values: Tensor
    seconds: Tensor | None = None

    def __len__(self) -> int:
        return self.values.shape[0]


@dataclass(frozen=True)
class Features:
    """What a tower made of a batch.

    Attributes:
        tokens: (batch, n, width). Just those that stand for a place or a moment, row by row where there is a grid.
        grid: rows and columns of the tokens, n = rows · columns. A spectrogram's rows are frequencies, its columns time.
        times: (batch, n) float32 seconds from the start of the sound to the middle of what a token stands for.
        valid: (batch, n) bool, False where a token heard nothing but padding. None: all of them are valid.
        prefix: (batch, k, width), the class, distillation and register tokens that stand apart.
        pooled: (batch, width), the tower's own summary. None where it was not trained to give one.
        taps: (batch, m, width of that depth), the tokens of each depth that was asked for, in that order.
        tap_grids: rows and columns of each tap; those of a pyramid differ.
    """

    tokens: Tensor
    grid: Grid | None = None
    times: Tensor | None = None
    valid: Tensor | None = None
    prefix: Tensor | None = None
    pooled: Tensor | None = None
    taps: tuple[Tensor, ...] = ()
    tap_grids: tuple[Grid | None, ...] = ()

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def map(self) -> Tensor:
        """(batch, rows, columns, width). Raises ``ValueError`` where there is no grid."""
        if self.grid is None:
            raise ValueError("These tokens stand on no grid.")
        return self.tokens.reshape(len(self), *self.grid, -1)

    def row(self, index: int) -> Features:
        """One item of the batch, as a batch of one."""

        def cut(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index : index + 1]

        return replace(
            self,
            tokens=self.tokens[index : index + 1],
            times=cut(self.times),
            valid=cut(self.valid),
            prefix=cut(self.prefix),
            pooled=cut(self.pooled),
            taps=tuple(tap[index : index + 1] for tap in self.taps),
        )


def concatenate(parts: Sequence[Features]) -> Features:
    """One batch of several. Raises ``ValueError`` where their grids or kinds differ, or there is nothing."""
    if not parts:
        raise ValueError("There are no features of nothing.")
    first = parts[0]
    for part in parts:
        if (part.grid, part.tap_grids) != (first.grid, first.tap_grids) or part.tokens.shape[1:] != first.tokens.shape[1:]:
            raise ValueError(
                f"Tokens of {tuple(part.tokens.shape[1:])} on {part.grid} do not batch with {tuple(first.tokens.shape[1:])} "
                f"on {first.grid}."
            )

    def join(tensors: list[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        if present and len(present) != len(tensors):
            raise ValueError("Some of these features have what others lack.")
        return torch.cat(present) if present else None

    return replace(
        first,
        tokens=torch.cat([part.tokens for part in parts]),
        times=join([part.times for part in parts]),
        valid=join([part.valid for part in parts]),
        prefix=join([part.prefix for part in parts]),
        pooled=join([part.pooled for part in parts]),
        taps=tuple(torch.cat(taps) for taps in zip(*(part.taps for part in parts), strict=True)),
    )


class Tower(Protocol[Item]):
    """Pixels or waves to features. ``Item`` is a picture (height, width, 3) uint8 RGB, or a `Sound`."""

    @property
    def width(self) -> int:
        """Of the tokens."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the tokens at every depth, from 0 (what enters the first layer or stage) to the last."""

    def prepare(self, items: Sequence[Item]) -> Batch:
        """What the tower reads, on the CPU. Raises `Refusal` for items that it cannot take."""

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        """Features of a batch, and the tokens at the depths ``taps``: -1 is what the last layer gave before any final norm,
        -2 the one before it (LLaVA's), 0 what entered the first. Raises ``ValueError`` for a depth that is not there."""

    def identity(self) -> str:
        """A hash over configuration, weights and preparation: the same features come only of the same identity."""


def depths(taps: Sequence[int], count: int) -> list[int]:
    """``taps`` counted from the front, for a tower with ``count`` depths. Raises ``ValueError`` for one that is not there."""
    for tap in taps:
        if not -count <= tap < count:
            raise ValueError(f"Depth {tap} of a tower that has depths 0 to {count - 1}, or -{count} to -1 from the end.")
    return [tap % count for tap in taps]


def tokens_of(state: Tensor, prefix: int) -> Tensor:
    """(batch, n, width) of a map (batch, width, rows, columns), or of (batch, prefix + n, width)."""
    return state.flatten(2).transpose(1, 2) if state.dim() == 4 else state[:, prefix:]
