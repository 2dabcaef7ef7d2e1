"""What a token came from says which branch it takes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from serval.conversation.sequence import Modality, MultimodalSequence


class ByModality(nn.Module):
    """A part called with ids, which are read from the sequence: it can stand for a linear map, norm or feed-forward layer.

    ``part(hidden, ids)`` is a ``TypedLinear`` (Arcana's MM-LoRA, GeoPixel's partial LoRA, PILL), a ``TypedModule``
    (LlamaFusion, Mixture-of-Mamba) or an ``AdapterBank``. ``branches`` says which branch tokens of a modality take; those of
    other modalities take ``otherwise``, which may be -1, the bare layer, where the part knows it.

    Layers call a part that has ``reads_sequence`` as ``part(hidden, sequence)`` instead of ``part(hidden)``.
    """

    reads_sequence = True

    def __init__(self, part: nn.Module, branches: Mapping[Modality, int], *, otherwise: int = 0) -> None:
        super().__init__()
        self.part = part
        self.branches, self.otherwise = dict(branches), otherwise

    def forward(self, hidden: Tensor, sequence: MultimodalSequence) -> Tensor:
        return self.part(hidden, self.ids(sequence))

    def ids(self, sequence: MultimodalSequence) -> Tensor:
        """(batch, length) int64: each token's branch."""
        ids = sequence.modality.new_full(sequence.modality.shape, self.otherwise)
        for modality, branch in self.branches.items():
            ids = ids.masked_fill(sequence.modality == modality, branch)
        return ids
