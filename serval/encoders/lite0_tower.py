"""EfficientNet-lite0 as a tower: the map that its feature is the mean of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from serval.encoders.features import Batch, Features, depths
from serval.encoders.lite0 import SIDE, STRIDE, graph, prepare
from serval.encoders.onnx_session import open_session
from serval.encoders.picture_input import Picture

WIDTH: Final = 1280
_GRID: Final = (SIDE // STRIDE, SIDE // STRIDE)


class Lite0Tower:
    """Pictures to 7 by 7 tokens of 1280. It runs in ONNX Runtime on the CPU and cannot be trained.

    It has one depth, the map itself: ``taps`` are 0 or -1.
    """

    width = WIDTH
    widths = (WIDTH,)

    def __init__(self, weights: Path, *, threads: int = 1) -> None:
        from safetensors.numpy import load_file

        self._session = open_session(graph(load_file(weights), ("map", "feature")), threads=threads)
        self._weights = weights

    @classmethod
    def open(cls, threads: int = 1) -> Lite0Tower:
        """The installed encoder.

        Raises:
            PartMissing: the part ``lite0`` is not installed.
        """
        from serval.weights import locate

        return cls(locate("lite0", "model.safetensors"), threads=threads)

    def prepare(self, items: Sequence[Picture]) -> Batch:
        """Pixels (batch, 3, 224, 224) of the square in the middle of each picture. Raises ``ValueError`` for no picture."""
        if not items:
            raise ValueError("There are no pixels of no pictures.")
        return Batch(torch.from_numpy(np.concatenate([prepare(picture) for picture in items])))

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        """See `Tower.encode`. ``pooled`` is the feature that `Lite0.look` gives."""
        seen = [self._session.run(None, {"picture": pixels[None].float().numpy()}) for pixels in batch.values.cpu()]
        maps, pooled = (torch.from_numpy(np.concatenate(each)) for each in zip(*seen, strict=True))
        tokens = maps.flatten(2).transpose(1, 2)
        wanted = depths(taps, len(self.widths))
        return Features(
            tokens, _GRID, pooled=pooled, taps=tuple(tokens for _ in wanted), tap_grids=tuple(_GRID for _ in wanted)
        )

    def identity(self) -> str:
        """SHA-256 over the weights; how pictures are prepared is part of the name before them."""
        with self._weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(b"lite0: square in the middle, 224, (value - 127) / 128")
        return digest.hexdigest()
