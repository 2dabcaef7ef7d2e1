"""VideoLLM-online: Online Video Large Language Model for Streaming Video (Chen et al., CVPR 2024, arXiv:2406.11816).

New in it: one more term of the loss teaches when to speak. Behind each frame a model predicts the next token anyway; where
nothing is to be said, that is to be the separator between frames. So silence costs no words, and no turn of the dialogue.

    frame ── SigLIP ── 1 + 3·3 tokens ── connector ──┐
                                                      ├─ [f,f,f] Assistant: … ── decoder (LoRA) ── "," or "]" behind each f
    words ────────────────────── embeddings ──────────┘

Where this departs from the released code, and why:

- A run of frames that a person's question ends teaches nothing at its last frame: no picture shows that somebody will ask.
- Labels are made from tokens, not from places in a string, which miss where a tokenizer joins two signs.
- Frames of a single token have a separator, too. The paper's have none, and are silent with the end of text: that is a layout
  without ``separator`` here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from serval.adapters.peft_format import add_adapters
from serval.connectors.frame_tokens import Summary, frame_tokens
from serval.connectors.projector import Projector
from serval.connectors.stream_layout import StreamLayout
from serval.conversation.sequence import MultimodalSequence
from serval.encoders.features import Features
from serval.encoders.vision_tower import VisionTower
from serval.language.decoder import Decoder
from serval.language.streaming_decisions import DecidingStream
from serval.systems.backbones import Backbone, open_eyes, open_language, tiny_language
from serval.systems.recipe import system_recipe
from serval.systems.system import System, SystemConfig
from serval.training.batches import Batches, shuffled_as
from serval.training.objectives.streaming import Streaming
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage
from serval.training.stream_sample import as_streams


class Config(SystemConfig):
    """
    Attributes:
        language: the decoder.
        eyes: the tower, or None where its features are made elsewhere, ``width`` wide.
        cells: of the grid of a frame, rows and columns; None for its summary alone.
        rank: of the LoRA on every linear map of the decoder and its head; twice that is its alpha. 0 for none.
        threshold: how sure silence has to be.
    """

    language: Backbone
    layout: StreamLayout
    eyes: Backbone | None = None
    width: int | None = None
    cells: tuple[int, int] | None = (3, 3)
    summary: Summary = "pooled"
    rank: int = 128
    dropout: float = 0.05
    threshold: float = 0.725


class VideoLLMOnline(nn.Module):
    """A tower, a connector and a decoder that reads frames as they come."""

    def __init__(self, config: Config, decoder: Decoder, eyes: VisionTower | None) -> None:
        super().__init__()
        width = config.width if eyes is None else eyes.width
        if width is None:
            raise ValueError("A model without eyes needs the width of the features that it is given.")
        self.config, self.layout = config, config.layout
        self.eyes, self.decoder = eyes, decoder
        self.connector = Projector(width, decoder.config.width)
        self.look: Callable[[Features], Tensor] = partial(frame_tokens, cells=config.cells, summary=config.summary)

    @property
    def stream(self) -> DecidingStream:
        """Whoever watches: ``step(cache, frame) -> Decision``."""
        return DecidingStream(self.decoder, self.layout, threshold=self.config.threshold)

    def frames(self, features: Sequence[Tensor]) -> Tensor:
        """(frames, tokens, width of the tower), of one tower, to (frames, tokens, width of the decoder)."""
        (seen,) = features
        tokens: Tensor = self.connector(seen)
        return tokens

    def read(self, sequence: MultimodalSequence) -> tuple[Tensor, MultimodalSequence]:
        return self.decoder.read(sequence)

    def logits(self, states: Tensor) -> Tensor:
        return self.decoder.logits(states)


def build(config: Config, device: torch.device, dtype: torch.dtype) -> VideoLLMOnline:
    decoder = open_language(config.language, device, dtype)
    eyes = None if config.eyes is None else open_eyes(config.eyes, device, dtype)
    used = {"language": decoder.config.source} | ({"eyes": eyes.model.config.to_dict()} if eyes else {})
    model = VideoLLMOnline(config.model_copy(update=used), decoder, eyes)
    if config.rank:
        add_adapters(decoder, r".*_proj|lm_head", rank=config.rank, alpha=2.0 * config.rank, dropout=config.dropout)
    return model.to(device=device, dtype=dtype)


TINY_LAYOUT = StreamLayout(opening=(1, 2), separator=(3,), closing=(4,), user=(5,), assistant=(6,), end=0)
LLAMA_3_LAYOUT = StreamLayout(
    opening=(198, 58), separator=(11,), closing=(933,), user=(1502, 25, 220), assistant=(72803, 25), end=128009
)

SYSTEM = System(
    name="VideoLLM-online",
    paper="VideoLLM-online: Online Video Large Language Model for Streaming Video, CVPR 2024, arXiv:2406.11816",
    idea="Silence is a token that frames are taught to be followed by, and that is never said.",
    config=Config,
    build=build,
    sizes={
        "tiny": Config(language=tiny_language(64), layout=TINY_LAYOUT, width=32, rank=0, threshold=0.0),
        "llama-3-8b": Config(language="llama-3-8b", layout=LLAMA_3_LAYOUT, eyes="siglip-large-384"),
    },
)


def stages(config: Config, *, learning_rate: float = 2e-4, steps: int = 1000, batch: int = 1) -> list[Stage]:
    """One stage: the connector and the LoRA, or without a LoRA everything but the tower."""
    rate = Rate(learning_rate)
    trains = (
        {"connector.*": rate, "decoder.*.down": rate, "decoder.*.up": rate}
        if config.rank
        else {"connector.*": rate, "decoder.*": rate}
    )
    return [
        Stage(
            name="streaming",
            trains=trains,
            mixture="streams",
            objective=Streaming(config.layout.sentinels, sequence=as_streams),
            steps=steps,
            batch=batch,
            warmup=0.05,
            gradient_checkpointing=["decoder.layers.*"] if config.rank else [],
        )
    ]


def recipe(
    size: Literal["tiny", "llama-3-8b"] = "tiny", steps: int = 1000, batch: int = 8, learning_rate: float = 3e-3, seed: int = 0
) -> Recipe:
    """Streams of four things of which a request names one (`data.worlds.latent_streams`).

    Args:
        size: "llama-3-8b" is for ``--dry-run``, and for those who have its weights.
    """
    config = SYSTEM.sizes[size]
    made = stages(config, learning_rate=learning_rate, steps=steps, batch=batch)
    return system_recipe("videollm-online", SYSTEM, config, made, {"streams": partial(_world, seed=seed)}, seed)


def _world(stage: Stage, seed: int) -> Batches:
    from serval.data.worlds.latent_streams import make
    from serval.data.worlds.streams import from_latent, latent_words

    words = latent_words()
    samples = [from_latent(each, words, end=0) for each in make(seed, 512)]
    return shuffled_as("streams", samples, stage.batch, seed=seed)
