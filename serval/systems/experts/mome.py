"""MoME: Mixture of Multimodal Experts for Generalist Multimodal Large Language Models (Shen et al., NeurIPS 2024,
arXiv:2407.12709).

New in it: one model for captions, boxes and documents loses to a specialist for each, because they need different features of a
picture and different changes of the decoder. So the instruction chooses both: how much each of three towers gives to the visual
tokens, and which of several adapters stands beside each feed-forward layer.

    instruction ── sentence embedding ─────────┬──────────────────────────────┐
                                               ▼ weights a                    ▼ one of K, in each layer
    picture ─┬─ CLIP ─────── deformable reader ─┐                        decoder, frozen:
             ├─ DINOv2 ───── deformable reader ─┼─ Σ aᵢ·tokensᵢ ──┐      x + FFN(norm x) + adapterₖ(norm x)
             └─ Pix2Struct ─ deformable reader ─┘                 └─ [picture][question] ── answer

Where this departs from the paper, which has no code, and why:

- The one-hot choice of an adapter learns by the gradient of its softmax (straight through); the paper does not say how.
- The points of a head are weighed by a softmax, as in Deformable DETR; the formula shows a plain projection.
- Norms stand before each step of the deformable reader, so that it is average pooling while its steps add nothing.
- The number of visual tokens is not told; it is that of CLIP here, 16 by 16.
- Pix2Struct's features are made elsewhere (`Eyes.tower`, a width), on a grid that follows the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from serval.adapters.adapter_bank import AdapterBank
from serval.connectors.deformable_reader import DeformableReader
from serval.connectors.grid_reducer import Grid, average_pool
from serval.connectors.projector import Projector
from serval.connectors.soft_router import SoftRouter, contributions
from serval.encoders.encoder_bank import Bridge, EncoderBank
from serval.encoders.features import Features, Tower
from serval.encoders.picture_input import Picture
from serval.language.decoder import Decoder
from serval.language.layer import Layer
from serval.language.told_layer import ToldLayer
from serval.refusal import Refusal
from serval.systems.backbones import Backbone, open_given, open_language, tiny_language
from serval.systems.experts.picture_question import Answers, PictureQuestion, answers, batches
from serval.systems.system import System, SystemConfig
from serval.training.batches import Batch, Batches
from serval.training.objectives.loss import Loss, combined
from serval.training.recipe import Recipe
from serval.training.stage import Rate, Stage

Mixing = Literal["router", "add"]
"""How the towers' tokens become one set: by weights that follow the instruction, or all alike."""

Routing = Literal["instruction", "tokens", "both"]
"""What chooses an adapter: the sample's instruction, the states of each token, or both together (the paper's I, T, IT)."""


class Eyes(SystemConfig):
    """
    Attributes:
        tower: a backbone, or the width of features that are made elsewhere.
        heads: of the reader, whose width is the tower's.
    """

    tower: Backbone | int
    heads: int = 8


class Config(SystemConfig):
    """
    Attributes:
        cells: of the grid that each tower's map becomes.
        readings: layers of the deformable reader; 0 for pooling alone.
        guide: width of the instruction's embedding.
        adapters: beside each feed-forward layer; with one there is nothing to choose, as in the first stage.
        hidden: width of an adapter.
        noise: Gumbel's, on the logits of routers while they learn.
        end: the token that ends an answer.
    """

    language: Backbone
    eyes: tuple[Eyes, ...]
    cells: Grid = (16, 16)
    readings: int = 6
    points: int = 4
    guide: int = 384
    mixing: Mixing = "router"
    adapters: int = 4
    hidden: int = 64
    routing: Routing = "instruction"
    noise: bool = False
    end: int = 2


class MoME(nn.Module):
    """Towers that are mixed, and a decoder whose adapters are chosen, by an instruction."""

    def __init__(self, config: Config, decoder: Decoder, towers: Sequence[Tower[Any]]) -> None:
        super().__init__()
        self.config, self.decoder = config, decoder
        width = decoder.config.width
        bridges = [
            Bridge(*_reading(config, eyes, tower.width), Projector(tower.width, width, depth=1))
            for eyes, tower in zip(config.eyes, towers, strict=True)
        ]
        mixer = SoftRouter(config.guide, sources=len(bridges)) if config.mixing == "router" else config.mixing
        self.bank = EncoderBank(towers, bridges, mixer)
        for number, layer in enumerate(decoder.layers):
            decoder.layers[number] = _expert_layer(layer, config, width)

    def look(self, batch: Mapping[str, Any]) -> Tensor:
        """See `Sees`; what was seen is the map of each tower."""
        tokens: Tensor = self.bank(self._features(batch), batch["told"]["instruction"])
        return tokens

    def embed(self, ids: Tensor) -> Tensor:
        return self.decoder.embed(ids)

    def prepare(self, picture: Picture) -> tuple[Tensor, ...]:
        """A picture (height, width, 3) uint8 RGB as each tower sees it, for `PictureQuestion.seen`."""
        with torch.no_grad():
            return tuple(each.map[0] for each in self.bank.encode(self.bank.prepare([picture])))

    def answer(self, questions: Sequence[PictureQuestion], most: int = 16) -> list[list[int]]:
        """See `picture_question.answers`."""
        return answers(self, questions, end=self.config.end, most=most)

    def contributions(self, batch: Mapping[str, Any]) -> Tensor:
        """(batch, towers): how long what each tower adds to a token is (`soft_router.contributions`)."""
        tokens = self.bank.tokens(self._features(batch))
        if not isinstance(self.bank.mixer, SoftRouter):
            return contributions(tokens, tokens[0].new_ones(len(tokens[0]), 1, len(tokens)))
        return contributions(tokens, self.bank.mixer.weights(tokens, batch["told"]["instruction"]))

    def choices(self, instruction: Tensor) -> Tensor:
        """(layers, batch, adapters): how likely each router finds each adapter; for routing by instruction alone.

        With ``noise``, as they are without it.
        """
        return torch.stack([each.router[:3](instruction).softmax(-1) for each in self.adapter_banks if each.router is not None])

    @property
    def adapter_banks(self) -> list[Any]:
        """Of each layer."""
        return [each for each in self.decoder.modules() if isinstance(each, AdapterBank)]

    def _features(self, batch: Mapping[str, Any]) -> list[Features]:
        return [Features(each.flatten(1, 2), grid=(each.shape[1], each.shape[2])) for each in batch["seen"]]


class TokenCondition(nn.Module):
    """A bank whose router looks at the token, and maybe at the instruction, too: the paper's routers T and IT."""

    def __init__(self, bank: AdapterBank, both: bool) -> None:
        super().__init__()
        self.bank, self.both = bank, both

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """``hidden`` (batch, length, width), ``condition`` (batch, width of the guide)."""
        about = torch.cat([hidden, condition[:, None].expand(-1, hidden.shape[1], -1)], -1) if self.both else hidden
        changed: Tensor = self.bank(hidden, condition=about)
        return changed


class GumbelNoise(nn.Module):
    """Logits, with noise of the Gumbel distribution while they learn: sampling in proportion to their softmax."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits - torch.empty_like(logits).exponential_().log() if self.training else logits


def second_stage(first: MoME, adapters: int = 4, **changes: Any) -> MoME:
    """A model of several adapters, each a copy of the only one of ``first``: the same numbers, whatever is chosen.

    Args:
        changes: of the configuration: ``routing``, ``noise``.
    """
    config = first.config.model_copy(update={"adapters": adapters, **changes})
    weight = first.decoder.embed_tokens.weight
    model = build(config, weight.device, weight.dtype)
    places = {name.replace(".mlp.bank.", ".mlp."): each for name, each in model.state_dict().items()}
    for name, each in first.state_dict().items():
        if ".mlp." not in name or ".feed_forward." in name:
            places[name].copy_(each)
    for new, old in zip(model.adapter_banks, first.adapter_banks, strict=True):
        new.copy_adapter(old)
    return model.train(first.training)


def build(config: Config, device: torch.device, dtype: torch.dtype) -> MoME:
    decoder = open_language(config.language, device, dtype)
    opened = [open_given(each.tower, device, dtype) for each in config.eyes]
    eyes = tuple(each.model_copy(update={"tower": kept}) for each, (_, kept) in zip(config.eyes, opened, strict=True))
    used = {"language": decoder.config.source, "eyes": eyes}
    return MoME(config.model_copy(update=used), decoder, [tower for tower, _ in opened]).to(device=device, dtype=dtype)


def _reading(config: Config, eyes: Eyes, width: int) -> tuple[Any, ...]:
    """What a bridge looks at, and what reads it."""
    if not config.readings:
        return (lambda features: average_pool(features.map, config.cells).flatten(1, 2),)
    reader = DeformableReader(width, config.cells, layers=config.readings, heads=eyes.heads, points=config.points)
    return attrgetter("map"), reader


def _expert_layer(layer: Any, config: Config, width: int) -> nn.Module:
    """A decoder's layer with adapters in it."""
    assert isinstance(layer, Layer)
    several = config.adapters > 1
    about = {"instruction": config.guide, "tokens": width, "both": width + config.guide}[config.routing]
    bank = AdapterBank(layer.mlp, width, adapters=config.adapters, hidden=config.hidden, condition=about if several else None)
    if config.noise and isinstance(bank.router, nn.Sequential):
        bank.router.append(GumbelNoise())
    changed: Any = layer
    changed.mlp = bank if not several or config.routing == "instruction" else TokenCondition(bank, config.routing == "both")
    return ToldLayer(layer, {"condition": "instruction"} if several else {})


SYSTEM = System(
    name="MoME",
    paper="MoME: Mixture of Multimodal Experts for Generalist Multimodal LLMs, NeurIPS 2024, arXiv:2407.12709",
    idea="The instruction chooses how much each of three towers gives, and which adapter each layer takes.",
    config=Config,
    build=build,
    sizes={
        "tiny": Config(
            language=tiny_language(128),
            eyes=(Eyes(tower=32, heads=4),) * 3,
            cells=(4, 4),
            readings=2,
            guide=64,
            hidden=16,
            end=0,
        ),
        "vicuna-7b": Config(language="vicuna-7b", eyes=(Eyes(tower="eva-g-224"), Eyes(tower="dinov2-large"), Eyes(tower=768))),
    },
)


@dataclass(frozen=True)
class BalancedAnswers:
    """Answers, and that each router spreads the samples of a batch over its adapters (the paper's LB; Fedus et al. 2022).

    Attributes:
        coefficient: of K·Σₖ (share that takes k)·(mean probability of k), the mean over layers; 1 is the least.
    """

    coefficient: float = 0.01
    words: Answers = field(default_factory=Answers)

    def __call__(self, model: MoME, batch: Batch) -> Loss:
        assert isinstance(batch, Mapping)
        chances = model.choices(batch["told"]["instruction"])
        count = chances.shape[-1]
        taken = nn.functional.one_hot(chances.argmax(-1), count).float().mean(1)
        uneven = count * (taken * chances.float().mean(1)).sum(-1).mean()
        return combined(self.words(model, batch), {"balance": (self.coefficient, Loss(uneven, uneven.new_ones(())))})


def stages(config: Config, *, learning_rate: float = 5e-4, steps: int = 30_000, batch: int = 64) -> list[Stage]:
    """One stage, the first or the second as ``config.adapters`` is one or several: readers, projections, routers, adapters."""
    rate = Rate(learning_rate, weight_decay=0.05)
    trains: dict[str, Rate | None] = {"decoder.*.feed_forward.*": None, "decoder.*.mlp.*": rate, "bank.bridges.*": rate}
    if config.mixing == "router":
        trains["bank.mixer.*"] = rate
    return [
        Stage(
            name="one adapter" if config.adapters == 1 else "experts",
            trains=trains,
            mixture="questions",
            objective=Answers(),
            steps=steps,
            batch=batch,
            warmup=1000 if steps > 10_000 else 0.05,
            gradient_checkpointing=["decoder.layers.*"] if steps > 10_000 else [],
        )
    ]


def recipe(
    size: Literal["tiny", "vicuna-7b"] = "tiny",
    start: str = "",
    steps: int = 300,
    batch: int = 32,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> Recipe:
    """Captions, boxes and lines of glyphs (`data.worlds.shapes`), one stage at a time.

    Args:
        size: "vicuna-7b" is for ``--dry-run``, and for those who have its weights.
        start: the folder that the first stage has saved; the second begins there. Without one, this is the first stage.
    """
    config = SYSTEM.sizes[size]
    several = config if start else config.model_copy(update={"adapters": 1})

    def model(device: torch.device) -> nn.Module:
        if not start or device.type == "meta":
            return SYSTEM.new(several, seed=seed, device=device)
        from serval.systems.saved import load_system

        first = load_system(Path(start), device=device)
        if not isinstance(first, MoME) or first.config.adapters != 1:
            raise Refusal(start, "it is not of MoME's first stage", "train that first, without start")
        return second_stage(first, config.adapters)

    made = stages(several, learning_rate=learning_rate, steps=steps, batch=batch)
    return Recipe(model, made, {"questions": partial(_world, seed=seed)}, _save, seed=seed)


def _save(model: nn.Module, folder: Path) -> None:
    from serval.systems.saved import save_system

    save_system(model, folder, "mome")


def _world(stage: Stage, seed: int) -> Batches:
    from serval.data.worlds.shapes import make
    from serval.systems.experts.shape_questions import from_views

    items = make(seed, 512, ("general", "rec", "document"))
    return batches([from_views(each) for each in items], stage.batch, seed=seed)
