"""Features that are made elsewhere, where a tower is expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from serval.encoders.features import Batch, Features, depths


@dataclass(frozen=True)
class GivenTower:
    """A tower whose items are features, (n, width) each: it passes them on as they are, and has no numbers of its own.

    So an `EncoderBank` can be trained on what a tower that is not here has seen, as LION-FS is released without EgoVLPv2.
    """

    width: int

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.width,)

    def prepare(self, items: Sequence[Tensor]) -> Batch:
        """Raises ``ValueError`` for features of another width."""
        if any(each.shape[-1] != self.width for each in items):
            raise ValueError(f"Features of {[each.shape[-1] for each in items]} numbers where {self.width} are expected.")
        return Batch(torch.stack(list(items)))

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        return Features(batch.values, taps=tuple(batch.values for _ in depths(taps, 1)), tap_grids=(None,) * len(taps))

    def identity(self) -> str:
        return f"given features of {self.width}"
