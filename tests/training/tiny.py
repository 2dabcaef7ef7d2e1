"""A tiny random Llama, without transformers, and streams of frames and words for it."""

from __future__ import annotations

import torch
from torch import nn

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence
from serval.language.decoder import Decoder
from serval.language.families import config_from

WIDTH, WORDS = 12, 23


def tiny_decoder(seed: int = 0, **changes: object) -> Decoder:
    sizes = {"vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "max_position_embeddings": 128}
    fields = {"model_type": "llama", "rms_norm_eps": 1e-5, "tie_word_embeddings": True, **sizes, **changes}
    decoder, generator = Decoder(config_from(fields)), torch.Generator().manual_seed(seed)
    for parameter in decoder.parameters():  # large, so that mistakes show
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return decoder


def stream(parts: list[tuple[Modality, int, int]], labels: dict[int, int], seed: int = 0) -> MultimodalSequence:
    """One row. ``parts``: modality, source, and how many tokens; ``labels``: place to id."""
    length = sum(count for *_, count in parts)
    told = torch.full((1, length), IGNORED)
    for place, label in labels.items():
        told[0, place] = label
    return MultimodalSequence(
        embeds=torch.randn(1, length, WIDTH, generator=torch.Generator().manual_seed(seed)),
        modality=torch.cat([torch.full((count,), int(kind)) for kind, _, count in parts])[None],
        source=torch.cat([torch.full((count,), which) for _, which, count in parts])[None],
        time=torch.full((1, length), torch.nan, dtype=torch.float64),
        position=torch.arange(length).float()[None],
        labels=told,
        valid=torch.ones(1, length, dtype=torch.bool),
    )


class Told:
    """A "decoder" whose logits are the sequence's embeddings: what a loss should be can be reckoned by hand."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, sequence: MultimodalSequence) -> tuple[torch.Tensor, MultimodalSequence]:
        return sequence.embeds, sequence

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(states))
        return states
