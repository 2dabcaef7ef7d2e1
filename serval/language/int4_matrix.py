"""Matrices of four bits a number, and of eight where that is not enough."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

GROUP = 32  # numbers that share a step
AGAIN = 64  # columns of the head that have 8 bits: a few weigh so much that half of all error is theirs
_ROWS = 4096  # quantized at a time, so that no whole copy of a table is made in float32


@dataclass(frozen=True)
class Matrix:
    """A (rows, columns) matrix of 4 bits a number, in groups of `GROUP` along its columns.

    Attributes:
        levels: (rows, groups, GROUP / 2) uint8; the lower half of a byte comes first.
        step: (rows, groups) float32.
        middle: (rows, groups) float32, what the middle level, 8, stands for; None for 0.
    """

    levels: NDArray[np.uint8]
    step: Floats
    middle: Floats | None = None

    @classmethod
    def pack(cls, levels: Tensor, step: Tensor, least: Tensor | None = None) -> Matrix:
        """``levels`` (rows, columns) in 0..15; ``step`` and ``least`` (rows, groups) float32, or none where the middle is 0."""
        pairs = levels.to(torch.uint8).view(*step.shape, -1, 2)
        packed = pairs[..., 0] | pairs[..., 1] << 4
        return cls(packed.numpy(), step.numpy(), None if least is None else (least + 8 * step).numpy())

    @classmethod
    def quantize(cls, values: Tensor) -> Matrix:
        """The nearest of 16 even levels, of which one is 0 and the first is the number of a group that is farthest from it."""
        groups = values.view(len(values), -1, GROUP)
        farthest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
        step = torch.where(farthest == 0, 1.0, farthest / -8)
        return cls.pack(groups.div(step).round_().add_(8).clamp_(0, 15).flatten(1), step[..., 0])

    @property
    def rows(self) -> int:
        return self.levels.shape[0]

    @property
    def columns(self) -> int:
        return self.levels.shape[1] * GROUP

    @property
    def values(self) -> Tensor:
        """(rows, columns) float32; only where the middle is 0."""
        levels = torch.from_numpy(self.levels)
        pairs = torch.stack((levels & 15, levels >> 4), dim=-1).flatten(2)
        return ((pairs.float() - 8) * torch.from_numpy(self.step)[..., None]).flatten(1)

    def joined(self, *others: Matrix, axis: int) -> Matrix:
        """This and others of which the middle is 0: below each other, or side by side with an ``axis`` of 1."""
        levels, step = ([getattr(each, name) for each in (self, *others)] for name in ("levels", "step"))
        return Matrix(np.concatenate(levels, axis=axis), np.concatenate(step, axis=axis))

    def extended(self) -> Matrix:
        """For states followed by their `sums`, twice: what the middle stands for, of 8 bits, as 16 (high - 8) + (low - 8)."""
        assert self.middle is not None
        middle = np.pad(self.middle, ((0, 0), (0, -self.middle.shape[1] % GROUP))).reshape(self.rows, -1, GROUP)
        step = np.maximum(np.abs(middle).max(-1), 1e-30) / 119
        digits = np.rint(middle / step[..., None]).astype(np.int64) + 136
        high_and_low = torch.from_numpy(np.concatenate((digits >> 4, digits & 15), axis=1)).flatten(1)
        steps = torch.from_numpy(np.concatenate((16 * step, step), axis=1).astype(np.float32))
        return self.joined(Matrix.pack(high_and_low, steps), axis=1)


@cache
def sums(columns: int) -> Matrix:
    """What makes of states (…, columns) the sum of each group, filled up with zeros to whole groups."""
    count = columns // GROUP
    ones = torch.eye(count + -count % GROUP)[:, :count].repeat_interleave(GROUP, 1)
    return Matrix.pack(8 + ones, torch.ones(len(ones), count))


@dataclass(frozen=True)
class Rows:
    """Rows of which a few are looked up, of 8 bits a number.

    Attributes:
        levels: (rows, columns) uint8, of which 128 stands for 0.
        step: (rows, columns / GROUP) float32.
    """

    levels: NDArray[np.uint8]
    step: Floats

    @classmethod
    def quantize(cls, values: Tensor) -> Rows:
        """The nearest of 255 even levels around 0, up to the largest number of each group, as in a Q8_0 block."""
        levels, steps = [], []
        for some in torch.split(values, _ROWS):
            groups = some.float().view(len(some), -1, GROUP)
            step = groups.abs().amax(-1).clamp_min_(1e-30).div_(127)
            levels.append(groups.div(step[..., None]).round_().add_(128).to(torch.uint8).flatten(1))
            steps.append(step)
        return cls(torch.cat(levels).numpy(), torch.cat(steps).numpy())


@dataclass(frozen=True)
class Int4Head:
    """Logits of every token, close enough to find the likeliest, and what those are computed from anew.

    Attributes:
        matrix: for states that are followed by some of their columns once more.
        again: those columns.
        rows: of the likeliest.
    """

    matrix: Matrix
    again: NDArray[np.int64]
    rows: Rows

    @classmethod
    def quantize(cls, values: Tensor, rows: Rows, norm: Floats) -> Int4Head:
        """The ``values`` (vocabulary, width) in 4 bits, and what that misses of some columns in 4 more: of those with the
        largest numbers, the weight of the ``norm`` (width,) before them counted in."""
        some = torch.split(values, _ROWS)
        heavy = torch.stack([each.float().square().sum(0) for each in some]).sum(0).sqrt() * torch.from_numpy(norm).abs()
        again = heavy.topk(AGAIN).indices.sort().values
        return cls(Matrix.joined(*(_twice(each.float(), again) for each in some), axis=0), again.numpy(), rows)


def _twice(values: Tensor, again: Tensor) -> Matrix:
    whole = Matrix.quantize(values)
    return whole.joined(Matrix.quantize((values - whole.values)[:, again]), axis=1)
