"""Backbones that systems stand on: read from a folder, or of a known shape, with random numbers or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import nn

from serval.encoders.audio_tower import AudioTower
from serval.encoders.features import Tower
from serval.encoders.given_tower import GivenTower
from serval.encoders.open_tower import new_tower, open_tower
from serval.encoders.vision_tower import VisionTower
from serval.language.decoder import Decoder
from serval.language.families import config_from
from serval.language.load import load_decoder
from serval.refusal import Refusal
from serval.weights import locate

Backbone = str | dict[str, Any]
"""A folder with ``config.json`` and safetensors; a name of `SHAPES`, which has a shape but no numbers; or the content of a
``config.json``, for a new one with random numbers. ``smollm2`` is the one that Serval has itself."""

AnyTower = TypeVar("AnyTower", VisionTower, AudioTower)

SHAPES: Final[Mapping[str, dict[str, Any]]] = {
    "llama-3-8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    },
    "vicuna-7b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    },
    "mixtral-8x7b": {
        "model_type": "mixtral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
    },
    "siglip-large-384": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 16,
    },
    "clip-large-336": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    },
    "dinov2-large": {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 518,
        "patch_size": 14,
    },
    "eva-g-224": {
        "model_type": "blip_2_vision_model",
        "hidden_size": 1408,
        "intermediate_size": 6144,
        "num_hidden_layers": 39,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    },
    "vit-base-224": {
        "model_type": "vit",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
    },
}
"""Shapes of published backbones: what a dry run counts, and what a folder of that name's weights must have."""


def tiny_language(vocabulary: int, **more: Any) -> dict[str, Any]:
    """A decoder for tests and the arena, 64 wide unless told, which learns from random numbers in a hundred steps.

    Args:
        more: fields of its ``config.json``.
    """
    return {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "initializer_range": 0.125,  # 1 / √width; from transformers' 0.02 it learns a tenth as fast
        **more,
    }


def open_language(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> Decoder:
    """A decoder. Raises `Refusal` for a damaged folder, or a name that has no numbers here."""
    content = _content(backbone, device)
    if isinstance(content, Path):
        return load_decoder(content, device=device, dtype=dtype).requires_grad_(False)
    decoder = Decoder(config_from(content)).to(device=device, dtype=dtype)
    if device.type != "meta":
        draw(decoder, std=float(content.get("initializer_range", 0.02)))
    return decoder


def open_eyes(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> VisionTower:
    """A frozen tower for pictures. Raises `Refusal` as `open_language`, or if it is for sound."""
    return _tower(backbone, device, dtype, VisionTower)


def open_given(backbone: Backbone | int, device: torch.device, dtype: torch.dtype) -> tuple[Tower[Any], Backbone | int]:
    """A tower for pictures, or the place of one whose features are made elsewhere, so many wide; and what to save of it."""
    if isinstance(backbone, int):
        return GivenTower(backbone), backbone
    tower = open_eyes(backbone, device, dtype)
    return tower, tower.model.config.to_dict()


def open_ears(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> AudioTower:
    """A frozen tower for sound. Raises `Refusal` as `open_language`, or if it is for pictures."""
    return _tower(backbone, device, dtype, AudioTower)


def draw(module: nn.Module, std: float = 0.02) -> None:
    """Random numbers for every matrix, as transformers draws them; vectors become ones (norms) or zeros (biases).

    A narrow decoder learns many times faster from ``initializer_range`` = 1 / √width than from transformers' 0.02.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=std)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1.0)


def _tower(backbone: Backbone, device: torch.device, dtype: torch.dtype, kind: type[AnyTower]) -> AnyTower:
    content = _content(backbone, device)
    if isinstance(content, Path):
        tower = open_tower(content, device=device, dtype=dtype)
    else:
        tower = new_tower(content, seed=int(torch.randint(2**31, (), device="cpu")), device=device, dtype=dtype, frozen=True)
    if not isinstance(tower, kind):
        raise Refusal(str(backbone)[:60], f"it is no {kind.__name__}", "name a backbone of the other kind")
    return tower


def _content(backbone: Backbone, device: torch.device) -> Path | dict[str, Any]:
    """The folder to read; or the configuration of what is new, or is only to be counted."""
    if isinstance(backbone, dict):
        return backbone
    if backbone in SHAPES:
        if device.type == "meta":
            return SHAPES[backbone]
        raise Refusal(backbone, "only its shape is known here", "give the folder of its weights, or count it with --dry-run")
    folder = locate("smollm2", "model.safetensors").parent if backbone == "smollm2" else Path(backbone)
    if device.type == "meta":
        import json

        return dict(json.loads((folder / "config.json").read_bytes()))
    return folder
