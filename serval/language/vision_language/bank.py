"""A bank of towers as a model's ``config.json`` tells it: the towers, what is looked at in each, connectors, and a mixer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from serval.connectors.deformable_reader import DeformableReader
from serval.connectors.frame_tokens import frame_tokens
from serval.connectors.grid_reducer import average_pool, space_to_depth
from serval.connectors.projector import Projector
from serval.connectors.soft_router import SoftRouter
from serval.encoders.encoder_bank import MIXERS, Bridge, EncoderBank
from serval.encoders.features import Batch, Features
from serval.encoders.picture_input import Picture, PictureInput
from serval.encoders.vision_tower import VisionTower
from serval.language.fields import Fields
from serval.language.vision_language.pictures import Plan

MODEL_TYPE: Final = "encoder_bank"
_MOST: Final = 65_536  # of any number that a part is made with
_MOST_DEPTH: Final = 1024
_MOST_TOWERS: Final = 64

LOOKS: Final[Mapping[str, Callable[..., Tensor]]] = {
    "tokens": lambda features: features.tokens,
    "map": lambda features: features.map,
    "cells": lambda features, grid: average_pool(features.map, grid).flatten(1, 2),
    "space_to_depth": lambda features, side: space_to_depth(features.map, side).flatten(1, 2),
    "frame_tokens": frame_tokens,
}
"""What is taken from a tower's `Features`, and by which options: (batch, tokens, width), or a map for a connector of maps."""

PARTS: Final[Mapping[str, Callable[..., nn.Module]]] = {
    "projector": Projector,
    "deformable_reader": DeformableReader,
    "soft_router": SoftRouter,
    "norm": nn.LayerNorm,
}
"""Connectors and mixers, by the names that a configuration calls them."""


@dataclass(frozen=True)
class Part:
    """One of `PARTS` or `LOOKS`, and what it is made with: ``Part("projector", {"width_in": 768, "width_out": 576})``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """A new one. Raises ``KeyError`` or ``TypeError`` for a name or an option that is not there."""
        return PARTS[self.name](**self.options)

    def to_json(self) -> dict[str, Any]:
        """What `from_fields` reads."""
        return {"part": self.name, **self.options}

    @classmethod
    def from_fields(cls, fields: Fields, known: Mapping[str, Any], usual: str = "") -> Part:
        """Raises `Refusal` for a part that is not ``known``, and for a number beyond reason."""
        name = fields.word("part", usual)
        if name not in known:
            raise fields.refusal(f"its part “{ascii(name)[1:-1][:40]}” is not known here", f"take {', '.join(known)}")
        options = {key: value for key, value in fields.content.items() if key != "part"}
        for key, value in options.items():
            most = _MOST_DEPTH if key in ("depth", "layers", "heads", "points") else _MOST
            for each in value if isinstance(value, list) else [value]:
                if not isinstance(each, str | None) and not 0 <= float(each if isinstance(each, int) else -1) <= most:
                    raise fields.refusal(f"the {ascii(key)[1:-1][:40]} of its {name} is not a number up to {most:,}")
        return cls(name, options)


@dataclass(frozen=True)
class Sight:
    """One tower of a bank, and the way from what it sees to the decoder's width.

    Attributes:
        connector: in turn.
        look: what the first of them reads.
        depth: of the tower's layers, as `Tower.encode` counts its taps; None for what it gives last.
        tower: its configuration as transformers writes it. Filled in from the tower itself by `VisionLanguageModel.composed`.
        prepared: how its pictures are prepared, as `PictureInput.to_json` says it. Filled in alike.
        pooler: the tower has one, in families that may lack it. Filled in alike.
    """

    connector: tuple[Part, ...]
    look: Part = Part("tokens")
    depth: int | None = None
    tower: Mapping[str, Any] = field(default_factory=dict)
    prepared: Mapping[str, Any] = field(default_factory=dict)
    pooler: bool = True

    def bridge(self) -> Bridge:
        """From the tower's features to tokens."""
        look = partial(LOOKS[self.look.name], **self.look.options)
        return Bridge(look, *(each.build() for each in self.connector), depth=self.depth)

    def new_tower(self) -> VisionTower:
        """With random weights, on PyTorch's default device. Raises `Refusal` as `serval.encoders.open_tower.new_tower`."""
        from serval.encoders.open_tower import new_tower

        model: Any = new_tower(self.tower, frozen=True, device=torch.get_default_device()).model
        if not self.pooler:
            model.pooler = None
        return VisionTower(model, self.input)

    @property
    def input(self) -> PictureInput:
        """How its pictures are prepared. Raises `Refusal` for a way that is not known."""
        return PictureInput.from_json(self.prepared, "config.json")

    def to_json(self) -> dict[str, Any]:
        """What `from_fields` reads."""
        made = {"tower": dict(self.tower), "prepared": dict(self.prepared), "pooler": self.pooler, "depth": self.depth}
        return made | {"look": self.look.to_json(), "connector": [each.to_json() for each in self.connector]}

    @classmethod
    def from_fields(cls, fields: Fields) -> Sight:
        """Raises `Refusal` for what cannot be."""
        depth, steps = fields.content.get("depth"), fields.content.get("connector")
        if not isinstance(depth, int | None) or isinstance(depth, bool):
            raise fields.refusal("its depth is not a number of a layer")
        if not isinstance(steps, list) or not all(isinstance(each, dict) for each in steps) or len(steps) > _MOST_TOWERS:
            raise fields.refusal("its connector is not a list of parts")
        return cls(
            connector=tuple(Part.from_fields(Fields(each, fields.name), PARTS) for each in steps),
            look=Part.from_fields(fields.within("look"), LOOKS, "tokens"),
            depth=depth,
            tower=fields.within("tower").content,
            prepared=fields.within("prepared").content,
            pooler=fields.flag("pooler", True),
        )


@dataclass(frozen=True)
class BankConfig:
    """An `EncoderBank` before a decoder.

    Attributes:
        sights: a tower and its connector each.
        mixer: a name of `EncoderBank`'s, or a router.
        tokens: of a picture or frame, so that they can be planned before anything is looked at.
        text_config: transformers' configuration of the decoder.
    """

    sights: tuple[Sight, ...]
    mixer: Part | str
    tokens: int
    text_config: Any

    @property
    def tie_word_embeddings(self) -> bool:
        return bool(self.text_config.tie_word_embeddings)

    def bank(self, towers: Sequence[VisionTower] | None = None) -> EncoderBank:
        """Of these towers, or of new ones; connectors and router are new."""
        mixer: Any = self.mixer if isinstance(self.mixer, str) else self.mixer.build()
        seen = [each.new_tower() for each in self.sights] if towers is None else towers
        return EncoderBank(seen, [each.bridge() for each in self.sights], mixer)

    def pictures(self) -> BankPictures:
        """How every tower's pictures are prepared."""
        return BankPictures(tuple(each.input for each in self.sights), self.tokens)

    def to_json(self) -> dict[str, Any]:
        """The content of a ``config.json``, but for the decoder's part."""
        mixer = self.mixer if isinstance(self.mixer, str) else self.mixer.to_json()
        return {
            "model_type": MODEL_TYPE,
            "tokens": self.tokens,
            "mixer": mixer,
            "sights": [each.to_json() for each in self.sights],
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> BankConfig:
        """Raises `Refusal` for what cannot be."""
        from transformers import CONFIG_MAPPING

        sights, mixer, text = fields.content.get("sights"), fields.content.get("mixer"), fields.within("text_config")
        if not isinstance(sights, list) or not all(isinstance(each, dict) for each in sights):
            raise fields.refusal("its sights are not a list of towers")
        if not 1 <= len(sights) <= _MOST_TOWERS:
            raise fields.refusal(f"it has {len(sights)} towers, and 1 to {_MOST_TOWERS} are possible")
        if isinstance(mixer, str) and mixer not in MIXERS:
            raise fields.refusal(f"its mixer is not known here, as {', '.join(MIXERS)} are")
        return cls(
            sights=tuple(Sight.from_fields(Fields(each, fields.name)) for each in sights),
            mixer=mixer if isinstance(mixer, str) else Part.from_fields(fields.within("mixer"), PARTS),
            tokens=fields.whole("tokens"),
            text_config=CONFIG_MAPPING[text.word("model_type", "")].from_dict(dict(text.content)),
        )


@dataclass(frozen=True)
class BankPictures:
    """Every picture once for each tower, each in its own way; frames of a video one after another.

    Attributes:
        tokens: of each picture or frame.
    """

    inputs: tuple[PictureInput, ...]
    tokens: int

    def plan(self, height: int, width: int, frames: int = 0, alone: bool = True) -> Plan:
        """See `Pictures`; the same for any size."""
        count = frames or 1
        return Plan((count * self.tokens,), (count, 1, 1), video=frames > 0)

    def pixels(self, frames: Sequence[Picture], plan: Plan) -> tuple[Tensor, ...]:
        """(frames, 3, height, width) float32 for each tower."""
        return tuple(each(frames).values for each in self.inputs)


def see(bank: EncoderBank, pixels: Sequence[Tensor], plan: Plan, condition: Tensor | None = None) -> Tensor:
    """(pictures, tokens of each, width) of pixels (pictures, 3, height, width) for each tower.

    Raises ``ValueError`` where these are not as many tokens as were planned.
    """
    features: list[Features] = bank.encode([Batch(each) for each in pixels])
    tokens: Tensor = bank(features, None if condition is None else condition.expand(len(pixels[0]), -1))
    if tokens.shape[0] * tokens.shape[1] != plan.tokens:
        raise ValueError(f"Towers and connectors make {tokens.shape[1]} tokens of a picture: say so in the configuration.")
    return tokens
