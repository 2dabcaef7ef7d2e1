"""A tiny tower of every family, with weights large enough that mistakes show."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

VIT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
LOOK = {**VIT, "image_size": 28, "patch_size": 7}
DINO = {"mlp_ratio": 2, **LOOK}
CONVNEXT = {"hidden_sizes": [8, 12, 16], "depths": [1, 2, 1], "num_stages": 3, "image_size": 48}
VISION = {
    "clip_vision_model": LOOK,
    "siglip_vision_model": LOOK,
    "siglip2_vision_model": {**VIT, "patch_size": 7, "num_patches": 16},
    "dinov2": DINO,
    "dinov2_with_registers": {**DINO, "num_register_tokens": 3},
    "dinov3_vit": {**LOOK, "hidden_size": 32, "num_register_tokens": 2, "key_bias": True},
    "dinov3_convnext": {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1], "image_size": 64},
    "vit": LOOK,
    "blip_2_vision_model": LOOK,
    "beit": {
        **LOOK,
        "use_absolute_position_embeddings": True,
        "use_relative_position_bias": True,
        "use_mean_pooling": True,
        "layer_scale_init_value": 0.5,
    },
    "convnext": CONVNEXT,
    "convnextv2": CONVNEXT,
    "focalnet": {
        "embed_dim": 8,
        "image_size": 32,
        "depths": [1, 2, 1],
        "focal_levels": [2, 2, 2],
        "focal_windows": [3, 3, 3],
        "hidden_sizes": [16, 32, 32],
    },
    "hiera": {
        "embed_dim": 8,
        "image_size": [32, 32],
        "patch_size": [3, 3],
        "patch_stride": [2, 2],
        "patch_padding": [1, 1],
        "depths": [1, 2, 1],
        "num_heads": [1, 2, 4],
        "num_query_pool": 2,
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, True, False],
    },
}
AUDIO = {
    "whisper": {
        "d_model": 16,
        "encoder_layers": 3,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "max_source_positions": 50,
        "decoder_layers": 1,
        "vocab_size": 60,
        "pad_token_id": 0,
    },
    "audio-spectrogram-transformer": {**VIT, "num_mel_bins": 32, "max_length": 56},
    "wav2vec2": {
        **VIT,
        "conv_dim": [8, 8, 8],
        "conv_kernel": [10, 8, 4],
        "conv_stride": [8, 5, 4],
        "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer",
    },
    "clap_audio_model": {
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
        "patch_embeds_hidden_size": 8,
        "depths": [2, 1],
        "num_attention_heads": [1, 2],
        "hidden_size": 16,
    },
}
CONFIGS = {**VISION, **AUDIO}


def enlarged(module: torch.nn.Module, seed: int = 1) -> None:
    """Weights of every kind at random; scales of norms stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.15
            parameter.copy_(noise + 1 if "norm" in name and name.endswith("weight") else noise)


@pytest.fixture(scope="session")
def enlarge() -> Callable[[torch.nn.Module], None]:
    return enlarged


@pytest.fixture(scope="session")
def tiny() -> Callable[..., torch.nn.Module]:
    """A frozen tower of a family; the same one for all who ask. Options change its configuration."""
    from serval.encoders.open_tower import new_tower

    @cache
    def make(kind: str, *options: tuple[str, object]) -> torch.nn.Module:
        tower = new_tower({"model_type": kind, **CONFIGS[kind], **dict(options)}, frozen=True)
        enlarged(tower)
        return tower

    return make
