"""Random sequences of text and media for a tiny decoder."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence

WIDTH = 48  # of the tiny Llama


def mixed(parts: list[tuple[Modality, int, int]], *, batch: int = 1, seed: int = 0, width: int = WIDTH) -> MultimodalSequence:
    """``parts``: modality, source and how many tokens."""
    generator = torch.Generator().manual_seed(seed)
    length = sum(count for *_, count in parts)
    modality = torch.cat([torch.full((count,), int(kind)) for kind, _, count in parts]).expand(batch, -1)
    source = torch.cat([torch.full((count,), which) for _, which, count in parts]).expand(batch, -1)
    return MultimodalSequence(
        embeds=torch.randn(batch, length, width, generator=generator) * 0.5,
        modality=modality.contiguous(),
        source=source.contiguous(),
        time=torch.full((batch, length), torch.nan, dtype=torch.float64),
        position=torch.arange(length).float().expand(batch, -1).contiguous(),
        labels=torch.full((batch, length), IGNORED),
        valid=torch.ones(batch, length, dtype=torch.bool),
    )


TEXT, IMAGE, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO
CONVERSATION = [
    (TEXT, -1, 4),
    (IMAGE, 0, 5),
    (TEXT, 0, 6),
    (IMAGE, 1, 3),
    (TEXT, -1, 4),
    (VIDEO, 2, 4),
    (VIDEO, 3, 4),
    (TEXT, -1, 3),
]
"""33 tokens: a picture with its question, another picture, two frames."""

cuts = st.sets(st.integers(1, 32)).map(lambda places: [0, *sorted(places), 33])
