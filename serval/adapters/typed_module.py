"""A layer's part with weights of its own for each type of token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TypedModule(nn.Module):
    """(batch, length, …) and ids (batch, length) → what the module of each token's id makes of that token.

    The parts are alike in shape and read each token alone: linear maps, norms, feed-forward layers. With a trained layer and
    its copies (``TypedModule([layer, deepcopy(layer)])``) this is LlamaFusion's weights by modality (Shi et al. 2024); with
    layers drawn apart Mixture-of-Mamba's projections (Liang et al. 2025), and the modality experts of VLMo, BEiT-3 and mPLUG-2.
    A token passes through one part, so the work is that of one layer. At first copies give what the layer gives, and where all
    tokens are of one type their part runs as it would alone, bit for bit.

    Raises ``ValueError`` for no parts.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("There is no part for any type.")
        self.parts = nn.ModuleList(parts)

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """``ids`` has a shape that expands to (batch, length). Raises ``ValueError`` for an id without a part."""
        ids = ids.expand(hidden.shape[:2])
        types = torch.unique(ids).tolist() or [0]
        if not 0 <= types[0] <= types[-1] < len(self.parts):
            raise ValueError(f"Ids from {types[0]} to {types[-1]} for {len(self.parts)} parts.")
        if len(types) == 1:
            return self.parts[types[0]](hidden)
        places = [ids == number for number in types]
        outputs = [self.parts[number](hidden[place]) for number, place in zip(types, places, strict=True)]
        mixed = outputs[0].new_empty(*ids.shape, *outputs[0].shape[1:])
        for place, output in zip(places, outputs, strict=True):
            mixed = mixed.index_put((place,), output)
        return mixed
