"""Tiny random models of every family, made with transformers and saved the way it saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

SIZES = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 4, "num_attention_heads": 6}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 256, "head_dim": 8, "tie_word_embeddings": False}
SIZES |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.4],
    "long_factor": [1.0, 2.0, 3.0, 7.0],
}
NO_HEAD_DIM: dict[str, Any] = {"head_dim": None}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama tied, biased, one head of keys": (
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1, "head_dim": 16},
    ),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3}),
    "llama linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}, "max_position_embeddings": 24},
    ),
    "mistral": ("mistral", {"sliding_window": 7}),
    "qwen2": ("qwen2", {"head_dim": 8}),
    "qwen2 with windows and yarn": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2, "rope_parameters": YARN},
    ),
    "qwen3": ("qwen3", {}),
    "qwen3_moe": (
        "qwen3_moe",
        {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [1]},
    ),
    "qwen3_moe renormalised": (
        "qwen3_moe",
        {
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
            "decoder_sparse_step": 2,
        },
    ),
    "phi3": ("phi3", {"sliding_window": 11}),
    "phi3 longrope, short": (
        "phi3",
        {"rope_parameters": dict(LONGROPE), "original_max_position_embeddings": 64, "max_position_embeddings": 256},
    ),
    "phi3 longrope, long": (
        "phi3",
        {"rope_parameters": dict(LONGROPE), "original_max_position_embeddings": 16, "max_position_embeddings": 256},
    ),
    "phi4-mini's partial rotary": (
        "phi3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}},
    ),
    "gemma2": ("gemma2", {"sliding_window": 6, "tie_word_embeddings": True, "query_pre_attn_scalar": 12}),
    "gemma3": ("gemma3_text", {"sliding_window": 6, "tie_word_embeddings": True, "num_hidden_layers": 7}),
    "olmo2": ("olmo2", {}),
    "smollm3": ("smollm3", {"tie_word_embeddings": True}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 12}),
}


def tiny_model(name: str, folder: Path) -> PreTrainedModel:
    """A random model of a row of `FAMILIES`, saved in ``folder`` with transformers."""
    family, changes = FAMILIES[name]
    torch.manual_seed(11)
    sizes = {key: value for key, value in (SIZES | changes).items() if value is not None}
    config = AutoConfig.for_model(family, **sizes)
    config._attn_implementation = "eager"  # the others leave softcaps out
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():  # transformers starts so small that mistakes would hide
        torch.nn.init.normal_(parameter, std=0.15 if parameter.ndim > 1 else 0.5)
    model.save_pretrained(folder)
    return model
