"""LION: Empowering Multimodal Large Language Model with Dual-Level Visual Knowledge (Chen et al., CVPR 2024, arXiv:2311.11860).

New in it: towers that learned from whole captions lack detail, and boxes and captions taught together harm each other. So
earlier blocks of the tower are read back into its last one; captions and boxes have an adapter each, which gates mix in a last
stage; and a recogniser's tags stand in the prompt behind one learned vector, which teaches how far to trust them.

    picture ── EVA ViT-G ─┬─ block 38 ── Q-Former (reads the question, too) ── 32 tokens ─┐
                          └─ blocks 38 ← 28 ← 18 ── aggregator ────────────── 257 tokens ─┤
    "According to <hint>, … tags: [...]. " + question ────────────────────────────────────┴─ decoder, frozen:
        task: image or region ── gates of each layer ──────────────────────────── x + FFN(norm x) + Σₖ gₖ·adapterₖ(x)

Where this departs from the paper or its code, and why:

- The language model is a decoder, so adapters stand in its layers; the paper's FLAN-T5 has an encoder, too.
- The Q-Former reads the question in the decoder's ids; InstructBLIP's has BERT's tokenizer beside that of T5.
- One model goes through all stages. In the first two, the gates stay where they start, at one adapter for each task: then the
  other adapter gets no gradient, and it is a model of one adapter. The code builds another model for each stage.
- Each sample has its own task; in the code the first one decides for the batch.
- Answers are the likeliest word after word; the paper searches with five beams and a repetition penalty of 1.5, which
  `serval.language.generation` has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from serval.adapters.adapter_bank import AdapterBank
from serval.connectors.layer_aggregator import LayerAggregator
from serval.connectors.projector import Projector
from serval.connectors.query_former import QFormer
from serval.connectors.soft_prompt import SoftPrompt
from serval.encoders.picture_input import Picture
from serval.encoders.vision_tower import VisionTower
from serval.language.decoder import Decoder
from serval.language.layer import Layer
from serval.language.told_layer import ToldLayer
from serval.systems.backbones import Backbone, open_eyes, open_language, tiny_language
from serval.systems.experts.picture_question import Answers, PictureQuestion, answers, batches
from serval.systems.recipe import system_recipe
from serval.systems.system import System, SystemConfig
from serval.training.batches import Batch, Batches
from serval.training.objectives.loss import Loss
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage

Sees = Literal["all", "queries", "layers"]
"""What of a picture the decoder reads: the Q-Former's tokens, the aggregator's, or both."""

TASKS: Final = ("region", "image")
"""By their numbers in ``told["task"]``."""


class Config(SystemConfig):
    """
    Attributes:
        depths: of the tower, earliest first, as `Tower.encode` counts them; the Q-Former reads the last.
        queries, query_width, query_layers, query_heads, query_hidden: of the Q-Former.
        heads, inner: of the aggregator's attention and feed-forward layers.
        adapters: one for each of `TASKS`, mixed by gates; or a single one for all.
        hidden: width of an adapter.
        hint: the token whose embedding is learned; text must not have it.
        end: the token that ends an answer.
    """

    language: Backbone
    eyes: Backbone
    depths: tuple[int, ...] = (19, 29, 39)
    queries: int = 32
    query_width: int = 768
    query_layers: int = 12
    query_heads: int = 12
    query_hidden: int = 3072
    heads: int = 16
    inner: int = 3072
    dropout: float = 0.1
    adapters: Literal[1, 2] = 2
    hidden: int = 64
    sees: Sees = "all"
    hint: int = 0
    end: int = 2


class Lion(nn.Module):
    """A tower read at several depths, a Q-Former beside it, and a decoder whose adapters a task mixes."""

    def __init__(self, config: Config, decoder: Decoder, eyes: VisionTower) -> None:
        super().__init__()
        width, source = decoder.config.width, eyes.width
        self.config, self.decoder, self.eyes = config, decoder, eyes
        self.query_norm = nn.LayerNorm(source)
        self.queries = QFormer(
            source=source,
            queries=config.queries,
            width=config.query_width,
            layers=config.query_layers,
            heads=config.query_heads,
            hidden=config.query_hidden,
            vocabulary=decoder.config.vocab_size,
            dropout=config.dropout,
        )
        self.project = Projector(config.query_width, width, depth=1)
        self.aggregator = LayerAggregator(
            source, width, depths=len(config.depths), heads=config.heads, hidden=config.inner, dropout=config.dropout
        )
        self.hint = SoftPrompt(width, config.hint)
        for number, layer in enumerate(decoder.layers):
            decoder.layers[number] = _adapted_layer(layer, config, width)

    def look(self, batch: Mapping[str, Any]) -> Tensor:
        """See `picture_question.Sees`; what was seen is the tokens of each depth. ``batch["sees"]`` stands above the
        configuration."""
        sees, taps = batch.get("sees", self.config.sees), batch["seen"]
        made = []
        if sees != "layers":
            asked = self.queries(self.query_norm(taps[-1]), text=batch["question"], valid=batch["asked"])
            made.append(self.project(asked))
        if sees != "queries":
            made.append(self.aggregator(taps))
        return torch.cat(made, dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        embeds: Tensor = self.hint(ids, self.decoder.embed(ids))
        return embeds

    def prepare(self, pictures: Sequence[Picture]) -> list[tuple[Tensor, ...]]:
        """Of each picture (height, width, 3) uint8 RGB the tokens of each depth, (1 + patches, width), for
        `PictureQuestion.seen`. The class token is among them, and no norm stands behind the last block."""
        batch = self.eyes.prepare(pictures)
        with torch.no_grad():
            pixels = batch.values.to(device=self.eyes.device, dtype=self.eyes.dtype)
            states = self.eyes.family.read(self.eyes.model, pixels, self.config.depths).states
        return list(zip(*(states[depth] for depth in self.config.depths), strict=True))

    def answer(self, questions: Sequence[PictureQuestion], most: int = 16) -> list[list[int]]:
        """See `picture_question.answers`."""
        return answers(self, questions, end=self.config.end, most=most)


def build(config: Config, device: torch.device, dtype: torch.dtype) -> Lion:
    decoder = open_language(config.language, device, dtype)
    eyes = open_eyes(config.eyes, device, dtype)
    used = {"language": decoder.config.source, "eyes": eyes.model.config.to_dict()}
    return Lion(config.model_copy(update=used), decoder, eyes).to(device=device, dtype=dtype)


def _adapted_layer(layer: Any, config: Config, width: int) -> nn.Module:
    """A decoder's layer with adapters that read the residual, which no norm has touched."""
    assert isinstance(layer, Layer)
    fed = nn.Sequential(layer.pre_feedforward_layernorm, layer.mlp)
    gated = config.adapters > 1
    changed: Any = layer
    changed.mlp = AdapterBank(fed, width, adapters=config.adapters, hidden=config.hidden, gated=gated)
    changed.pre_feedforward_layernorm = nn.Identity()
    return ToldLayer(layer, {"choice": "task"} if gated else {})


_TINY_EYES = {
    "model_type": "vit",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": [60, 48],
    "patch_size": 12,
    "initializer_range": 0.1,
}

SYSTEM = System(
    name="LION",
    paper="LION: Empowering Multimodal LLM with Dual-Level Visual Knowledge, CVPR 2024, arXiv:2311.11860",
    idea="Earlier blocks are read back into the tower's last; captions and boxes have an adapter each; a hint weighs tags.",
    config=Config,
    build=build,
    sizes={
        "tiny": Config(
            language=tiny_language(128),
            eyes=_TINY_EYES,
            depths=(2, 3, 4),
            queries=8,
            query_width=48,
            query_layers=2,
            query_heads=4,
            query_hidden=96,
            heads=4,
            inner=96,
            dropout=0.0,
            hidden=16,
            hint=1,
            end=0,
        ),
        "vicuna-7b": Config(language="vicuna-7b", eyes="eva-g-224"),
    },
)


@dataclass(frozen=True)
class Seeing:
    """Answers, of what a stage looks at."""

    sees: Sees

    def __call__(self, model: Lion, batch: Batch) -> Loss:
        assert isinstance(batch, Mapping)
        return Answers()(model, {**batch, "sees": self.sees})


def stages(
    config: Config, *, learning_rate: float = 1e-4, steps: Sequence[int] = (10_000, 10_000, 10_000), batch: int = 64
) -> list[Stage]:
    """Captions with the Q-Former and one adapter; boxes with the aggregator and the other; then all, and gates that mix.

    Mixtures are "image", "region" and "all". Adapters do not decay: the one that a stage leaves alone must stay as it is. How
    long, how fast and in what batches the paper trains is not known here.
    """
    rate, still = Rate(learning_rate, weight_decay=0.05), Rate(learning_rate)
    queries: dict[str, Rate | None] = {"query_norm.*": rate, "queries.*": rate, "project.*": rate, "hint.*": still}
    layers: dict[str, Rate | None] = {"aggregator.*": rate}
    frozen: dict[str, Rate | None] = {"decoder.*.feed_forward.*": None}
    gates: dict[str, Rate | None] = {"decoder.*.mlp.gates": None} if config.adapters > 1 else {}
    adapters: dict[str, Rate | None] = {"decoder.*.mlp.*": still}
    parts: list[tuple[str, Sees, dict[str, Rate | None]]] = [
        ("image", "queries", {**frozen, **gates, **queries, **adapters}),
        ("region", "layers", {**frozen, **gates, **layers, **adapters}),
        ("all", "all", {**frozen, **queries, **layers, **adapters}),
    ]
    return [
        Stage(
            name=name,
            trains=trains,
            mixture=name,
            objective=Seeing(sees),
            steps=count,
            batch=batch,
            warmup=0.05,
            gradient_checkpointing=["decoder.layers.*"] if count > 5000 else [],
        )
        for (name, sees, trains), count in zip(parts, steps, strict=True)
    ]


def recipe(
    size: Literal["tiny", "vicuna-7b"] = "tiny", steps: int = 100, batch: int = 32, learning_rate: float = 3e-3, seed: int = 0
) -> Recipe:
    """What there is and where it is, in pictures of shapes (`data.worlds.shapes`).

    Args:
        size: "vicuna-7b" is for ``--dry-run``, and for those who have its weights.
        steps: of each of the three stages.
    """
    config = SYSTEM.sizes[size]
    made = stages(config, learning_rate=learning_rate, steps=[steps] * 3, batch=batch)
    world = partial(_world, config=config, seed=seed)
    return system_recipe("lion", SYSTEM, config, made, {"image": world, "region": world, "all": world}, seed)


def _world(stage: Stage, config: Config, seed: int) -> Batches:
    """Pictures as the tower sees them that the model of the same seed has."""
    from serval.data.worlds.shapes import make
    from serval.systems.experts.shape_questions import from_pictures

    model = SYSTEM.new(config, seed=seed)
    assert isinstance(model, Lion)
    groups = {"image": ("general",), "region": ("rec",), "all": ("general", "rec")}[stage.mixture]
    return batches(from_pictures(make(seed, 512, groups), model.prepare), stage.batch, seed=seed)
