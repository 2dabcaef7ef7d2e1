"""A vision model of transformers as a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from serval.encoders.features import Batch, Features, Grid, depths, tokens_of
from serval.encoders.model_tower import ModelTower
from serval.encoders.picture_input import Picture, PictureInput
from serval.encoders.vision_families import VISION_FAMILIES, pair
from serval.refusal import Refusal


class VisionTower(ModelTower):
    """Pictures to features, at the tower's own size or any other.

    Attributes:
        model: of transformers, one of `VISION_FAMILIES`.
        preparation: how pictures become pixels.
    """

    def __init__(self, model: Any, preparation: PictureInput) -> None:
        super().__init__(model, preparation.to_json())
        self.family = VISION_FAMILIES[self.config.model_type]
        self.preparation = preparation

    @property
    def width(self) -> int:
        return self.widths[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        return self.family.widths(self.config)

    def prepare(self, items: Sequence[Picture], *, size: Grid | None = None) -> Batch:
        """Pixels of pictures (height, width, 3) uint8 RGB, at (height, width) ``size`` if it is given.

        Raises:
            ValueError: no picture, or an array that is none.
            Refusal: see `PictureInput`, or a ``size`` that the tower cannot look at.
        """
        batch = self.preparation(items, size)
        self._check(*batch.values.shape[-2:])
        return batch

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        """See `Tower.encode`. Pixels may be on any device and of any precision.

        At another size than the tower's, learned positions are interpolated; where a side is not a multiple of the patch, what
        is left over is not seen, as in transformers.

        Raises:
            Refusal: pixels of a size that the tower cannot look at.
            ValueError: a depth that is not there.
        """
        pixels = batch.values.to(device=self.device, dtype=self.dtype)
        self._check(*pixels.shape[-2:])
        wanted = depths(taps, len(self.widths))
        reading = self.family.read(self.model, pixels, wanted)
        last, prefix = reading.last, self.family.prefix(self.config)
        grid = pair(last.shape[-2:]) if last.dim() == 4 else reading.grid or self._patches(pixels)
        states = [reading.states[depth] for depth in wanted]
        return Features(
            tokens=tokens_of(last, prefix),
            grid=grid,
            prefix=last[:, :prefix] if prefix else None,
            pooled=reading.pooled,
            taps=tuple(tokens_of(state, prefix) for state in states),
            tap_grids=tuple(pair(state.shape[-2:]) if state.dim() == 4 else grid for state in states),
        )

    def _patches(self, pixels: Tensor) -> Grid:
        rows, columns = (length // side for length, side in zip(pixels.shape[-2:], pair(self.config.patch_size), strict=True))
        return rows, columns

    def _check(self, height: int, width: int) -> None:
        step = self.family.step(self.config)
        what = f"a picture of {width}x{height} for {self.config.model_type}"
        if self.config.model_type == "hiera" and (height % step or width % step):
            raise Refusal(what, f"its sides must be multiples of {step}", "resize it")
        if min(height, width) < step:
            raise Refusal(what, f"its sides must be {step} or more", "resize it")
        native = pair(getattr(self.config, "image_size", 0))
        if self.family.square and native[0] != native[1] and native != (height, width):
            raise Refusal(what, f"its positions were learned at {native[1]}x{native[0]}, not on a square", "resize it")
