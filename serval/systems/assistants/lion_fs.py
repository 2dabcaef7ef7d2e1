"""LION-FS: Fast & Slow Video-Language Thinker as Online Video Assistant (Li et al., CVPR 2025, arXiv:2503.03663).

New in it: most frames only ask whether to speak, so they get few tokens, and of those half skip every second layer; only a
frame that is spoken about is looked at closely, before the words and beside the stream.

    fast, every frame
      general ── SigLIP ── mean + 3·3 ── connector ──┐
                                                      ├─ router: A·general + (1-A)·ego ─ 10 tokens ─┐
      ego clip ─ EgoVLP ── CLS + 3·3 ── connector ───┘  A from general's first token, one a place   │
                                                                                                    ▼
      [f,f,f …   layers 0, 2, 4 …: words, and the 5 of 10 tokens a linear router likes;  1, 3, 5 …: all     ── "," or "]"
                                                                                                    │ "]"
    slow, in a copy of the cache                                                                    ▼
      Stream: [f,quarter,quarter,quarter,quarter]   User: Please focus on <hand><hand><what it holds>.   Assistant: …

The stream goes on as if the short way had been taken, so no decision depends on the slow path.

Where this departs from the paper or its code, and why:

- Tokens are dropped by a budget for each frame. The released code takes the best of the whole sequence, so the future decides
  what is dropped, and a stream that is read frame by frame is another than the one that was trained on.
- Kept tokens keep their positions; the code counts them anew, which goes wrong with a cache.
- What a layer adds to a token is not scaled (`TokenSkipping`); the code halves the feed-forward of words, too.
- One router for each layer that skips. The code has one for all, of which LoRA's saving trains a single copy.
- No auxiliary loss: the code computes one, and then throws it away.
- EgoVLPv2 attends over the four pictures of a clip, which ready features may come from (`Eyes.tower`, a width), as they do in
  the code. A tower of ours looks at each picture, and the mean is taken.
- A clip ends with its frame; the paper's surround it, so it looks ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from serval.adapters.peft_format import add_adapters
from serval.connectors.frame_tokens import Summary, frame_tokens
from serval.connectors.grid_reducer import Grid
from serval.connectors.projector import Projector
from serval.connectors.soft_router import SoftRouter
from serval.connectors.stream_layout import Encode, Segments, StreamLayout
from serval.connectors.thinking_template import thinking_segments
from serval.conversation.sequence import MultimodalSequence
from serval.encoders.encoder_bank import Bridge, EncoderBank
from serval.encoders.features import Features, Tower
from serval.language.decoder import Decoder
from serval.language.live_stream import Prepare, Wake
from serval.language.streaming_decisions import DecidingStream
from serval.language.token_skipping import TokenSkipping
from serval.media.box import Box
from serval.systems.assistants.videollm_online import LLAMA_3_LAYOUT, TINY_LAYOUT
from serval.systems.backbones import Backbone, open_given, open_language, tiny_language
from serval.systems.recipe import system_recipe
from serval.systems.system import System, SystemConfig
from serval.training.batches import Batches, shuffled_as
from serval.training.objectives.balance import PLAIN, Balance
from serval.training.objectives.streaming import Streaming
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage
from serval.training.stream_sample import as_streams

Mixing = Literal["router", "static", "add", "concat"]
"""How the towers' tokens become one set: by the frame's own weights, by weights that are the same for all frames, by adding
them, or one behind the other, which makes twice as many."""


class Eyes(SystemConfig):
    """
    Attributes:
        tower: a backbone, or the width of features that are made elsewhere.
        summary: the token of the whole frame.
        clip: pictures that stand for one frame, the frame the last of them.
    """

    tower: Backbone | int
    summary: Summary = "mean"
    clip: int = 1


class Config(SystemConfig):
    """
    Attributes:
        eyes: the general ones, whose first token guides the router, then the egocentric ones.
        cells: of the grid of a frame.
        share: of a frame's tokens, how many skip the layers 0, 2, 4 …
        rank: of the LoRA on every linear map of the decoder and its head; twice that is its alpha. 0 for none.
        threshold: how sure silence has to be.
    """

    language: Backbone
    layout: StreamLayout
    eyes: tuple[Eyes, ...]
    cells: Grid = (3, 3)
    mixing: Mixing = "router"
    share: float = 0.5
    rank: int = 128
    dropout: float = 0.05
    threshold: float = 0.725


class LionFS(nn.Module):
    """Towers, what makes ten tokens of a frame, and a decoder whose even layers read half of them."""

    def __init__(self, config: Config, decoder: Decoder, towers: Sequence[Tower[Any]]) -> None:
        super().__init__()
        width, places = decoder.config.width, 1 + config.cells[0] * config.cells[1]
        self.config, self.layout, self.decoder = config, config.layout, decoder
        bridges = [
            Bridge(_tokens(eyes, config.cells), Projector(tower.width, width))
            for eyes, tower in zip(config.eyes, towers, strict=True)
        ]
        guided = partial(SoftRouter, width, sources=len(bridges), positions=places)
        self.bank = EncoderBank(
            towers,
            bridges,
            guided(guidance="cls")
            if config.mixing == "router"
            else guided(guidance="learned")
            if config.mixing == "static"
            else "add"
            if config.mixing == "add"
            else "behind",
        )
        for number in range(0, len(decoder.layers), 2):
            decoder.layers[number] = TokenSkipping(decoder.layers[number], width, share=config.share)

    def frames(self, features: Sequence[Tensor]) -> Tensor:
        """Ten tokens of each tower, (frames, 10, its width), to those that the decoder reads, (frames, 10, its width).

        From towers' own features it is ``model.bank(features)``.
        """
        return self.bank.mixer(self.sources(features))

    def sources(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Ten tokens of each tower to the width of the decoder, before they are mixed."""
        return [bridge.steps(seen) for bridge, seen in zip(self._bridges(), features, strict=True)]

    @property
    def fast(self) -> DecidingStream:
        """The fast path: ``step(cache, frame) -> Decision``, in which nothing but the cache is remembered."""
        return DecidingStream(self.decoder, self.layout, threshold=self.config.threshold)

    stream = fast

    def slow(self, look: Callable[[int], tuple[Tensor, Sequence[Box]]], encode: Encode) -> Prepare:
        """The slow path, for `LiveStream`'s ``prepare``. Nothing of it is trained.

        Args:
            look: from a frame's number to its general map (rows, columns, width of the tower), and the boxes of hands and of
                what they hold.
        """

        def prepare(wake: Wake) -> Segments:
            features, boxes = look(wake.number)
            return thinking_segments(
                self.layout,
                encode,
                wake.tokens,
                features,
                boxes,
                self._bridges()[0].steps,
                source=0,
                time=wake.time,
                question=wake.question,
                cells=self.config.cells,
                closes=wake.open,
            )

        return prepare

    def read(self, sequence: MultimodalSequence) -> tuple[Tensor, MultimodalSequence]:
        return self.decoder.read(sequence)

    def logits(self, states: Tensor) -> Tensor:
        return self.decoder.logits(states)

    def _bridges(self) -> list[Bridge]:
        return [bridge for bridge in self.bank.bridges if isinstance(bridge, Bridge)]


def _tokens(eyes: Eyes, cells: Grid) -> Callable[[Features], Tensor]:
    """Ten tokens of each frame. Those of a clip's pictures are averaged."""
    if isinstance(eyes.tower, int):
        return attrgetter("tokens")

    def tokens(features: Features) -> Tensor:
        seen = frame_tokens(features, cells, summary=eyes.summary)
        return seen.reshape(-1, eyes.clip, *seen.shape[1:]).mean(1)

    return tokens


def build(config: Config, device: torch.device, dtype: torch.dtype) -> LionFS:
    decoder = open_language(config.language, device, dtype)
    opened = [open_given(each.tower, device, dtype) for each in config.eyes]
    eyes = tuple(each.model_copy(update={"tower": kept}) for each, (_, kept) in zip(config.eyes, opened, strict=True))
    used = {"language": decoder.config.source, "eyes": eyes}
    model = LionFS(config.model_copy(update=used), decoder, [tower for tower, _ in opened])
    if config.rank:
        add_adapters(decoder, r".*_proj|lm_head", rank=config.rank, alpha=2.0 * config.rank, dropout=config.dropout)
    return model.to(device=device, dtype=dtype)


SYSTEM = System(
    name="LION-FS",
    paper="LION-FS: Fast & Slow Video-Language Thinker as Online Video Assistant, CVPR 2025, arXiv:2503.03663",
    idea="A cheap look at every frame to decide whether to speak, and a close one only at the frame that is spoken about.",
    config=Config,
    build=build,
    sizes={
        "tiny": Config(
            language=tiny_language(32),
            layout=TINY_LAYOUT,
            eyes=(Eyes(tower=32), Eyes(tower=32, summary="prefix")),
            rank=0,
            threshold=0.0,
        ),
        "llama-3-8b": Config(
            language="llama-3-8b",
            layout=LLAMA_3_LAYOUT,
            eyes=(Eyes(tower="siglip-large-384"), Eyes(tower="vit-base-224", summary="prefix", clip=4)),
        ),
    },
)


def stages(
    config: Config, *, learning_rate: float = 2e-4, steps: int = 1000, batch: int = 1, balance: Balance = PLAIN
) -> list[Stage]:
    """One stage, of the fast path: connectors, routers and the LoRA, or without a LoRA everything but the towers.

    Args:
        balance: between silence and speech; the paper weighs them alike.
    """
    rate = Rate(learning_rate)
    trains = {"bank.bridges.*": rate}
    if config.mixing in ("router", "static"):
        trains["bank.mixer.*"] = rate
    if config.rank:
        trains |= {"decoder.*.router.*": rate, "decoder.*.down": rate, "decoder.*.up": rate}
    else:
        trains["decoder.*"] = rate
    return [
        Stage(
            name="fast path",
            trains=trains,
            mixture="streams",
            objective=Streaming(config.layout.sentinels, balance=balance, sequence=as_streams),
            steps=steps,
            batch=batch,
            warmup=0.05,
            precision="bfloat16" if config.rank else None,
            gradient_checkpointing=["decoder.layers.*"] if config.rank else [],
        )
    ]


World = Literal["cues", "hands"]


def recipe(
    size: Literal["tiny", "llama-3-8b"] = "tiny",
    world: World = "cues",
    mixing: Mixing = "router",
    share: float = 0.5,
    steps: int = 1000,
    batch: int = 8,
    learning_rate: float | None = None,
    seed: int = 0,
) -> Recipe:
    """The fast path on a world of two towers; what is kept is read by `load_system`. The slow path needs no training.

    Args:
        size: "llama-3-8b" is for ``--dry-run``, and for those who have its weights.
        world: "cues": what a thing is and when it is put down, one of both misled in each clip (`data.worlds.two_cues`).
            "hands": a hand rests at a small symbol, which the slow path is to read (`data.worlds.hand_streams`).
        mixing: how the towers' tokens become one set: "router", "static", "add", "concat".
        share: of a frame's tokens, how many skip every second layer; 0 for none.
        learning_rate: 2e-4 as in the paper, or 5e-3 where the decoder is new.
    """
    config = SYSTEM.sizes[size].model_copy(update={"mixing": mixing, "share": share})
    rate = learning_rate or (2e-4 if config.rank else 5e-3)

    made = stages(config, learning_rate=rate, steps=steps, batch=batch)
    data = {"streams": partial(_batches, world=world, seed=seed)}
    return system_recipe("lion-fs", SYSTEM, config, made, data, seed)


def _batches(stage: Stage, world: World, seed: int) -> Batches:
    from serval.data.worlds import hand_streams, two_cues
    from serval.data.worlds.streams import from_hands, from_two_cues, hand_words, two_cue_words

    if world == "cues":
        samples = [from_two_cues(each, two_cue_words(), end=0) for each in two_cues.make(seed, 512)]
    else:
        samples = [from_hands(each, hand_words(), end=0) for each in hand_streams.make(seed, 512)]
    return shuffled_as("streams", samples, stage.batch, seed=seed)
