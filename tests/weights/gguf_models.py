"""Tiny random models of transformers', written as llama.cpp's conversion writes them.

Names of tensors are the gguf package's own, so that they are not ours twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import MODEL_ARCH_NAMES, GGUFWriter, RopeScalingType, get_tensor_name_map
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LENGTH = 24  # tokens of a prompt: more than any window below

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16, "partial_rotary_factor": 0.75}
LONG |= {"short_factor": [1.0, 1.25, 1.5], "long_factor": [1.0, 4.0, 9.5]}
GEMMA3 = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
GEMMA3 |= {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}}

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {  # architecture of llama.cpp's, class of transformers', sizes
    "llama": ("llama", "Llama", {}),
    "llama, tied": ("llama", "Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama, biases": ("llama", "Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "llama 3": ("llama", "Llama", {"rope_parameters": LLAMA3, "head_dim": 32}),
    "llama, linear": ("llama", "Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "mistral": ("llama", "Mistral", {"sliding_window": 5}),
    "mixtral": ("llama", "Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", "Qwen2", {}),
    "qwen2, yarn": ("qwen2", "Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", "Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3moe": (
        *("qwen3moe", "Qwen3Moe"),
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True},
    ),
    "phi3": ("phi3", "Phi3", {"sliding_window": 6, "original_max_position_embeddings": 256}),
    "phi3, long": ("phi3", "Phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 16}),
    "gemma2": ("gemma2", "Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5}),
    "gemma3": (
        *("gemma3", "Gemma3"),
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5, "rope_parameters": GEMMA3, "num_hidden_layers": 7},
    ),
    "olmo2": ("olmo2", "Olmo2", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
    "smollm3": ("smollm3", "SmolLM3", {"num_hidden_layers": 5}),
}


def random_model(name: str, **changes: Any) -> PreTrainedModel:
    _, kind, sizes = MODELS[name]
    config = getattr(transformers, kind + ("TextConfig" if kind == "Gemma3" else "Config"))(**{**SIZES, **sizes, **changes})
    torch.manual_seed(len(name))
    model = getattr(transformers, kind + "ForCausalLM")(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15 if parameter.ndim > 1 else 0.5)
        parameter.data = parameter.data.half().float()  # so that files with 16 bits a number hold it whole
    return model


def paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows in Hugging Face's order to llama.cpp's, as its conversion turns them."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def describe(writer: GGUFWriter, config: Any, architecture: str) -> None:
    """The metadata of llama.cpp's conversion."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_token_list([f"token {number}" for number in range(config.vocab_size)])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if architecture in ("llama", "smollm3"):
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head_dim)
    if getattr(config, "head_dim", None) and architecture != "phi3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    if architecture != "gemma2":
        writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear" or rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if architecture == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_rope_dimension_count(int(head_dim * rope["partial_rotary_factor"]))
        writer.add_sliding_window(config.sliding_window or 0)
        if rope["rope_type"] == "longrope":
            writer.add_rope_scaling_attn_factors(ROPE_INIT_FUNCTIONS["longrope"](config)[1])
            for kind in ("long", "short"):
                writer.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], dtype=np.float32))
    if rope["rope_type"] == "llama3":
        plain = 1 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2) / head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / ROPE_INIT_FUNCTIONS["llama3"](config)[0]).numpy())
    if architecture in ("gemma2", "gemma3") or config.model_type == "mistral":
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type in ("mixtral", "qwen3_moe"):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if config.model_type == "qwen3_moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def stored(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """The model's tensors as llama.cpp's conversion sees them: experts of a kind behind each other."""
    tensors: dict[str, Tensor] = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    for name in [name for name in tensors if name.endswith("experts.gate_up_proj")]:
        gate, up = tensors.pop(name).chunk(2, dim=1)
        tensors[name.replace("gate_up_proj", "gate_proj.weight")] = gate
        tensors[name.replace("gate_up_proj", "up_proj.weight")] = up
        down = name.replace("gate_up_proj", "down_proj")
        tensors[f"{down}.weight"] = tensors.pop(down)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def write_model(
    path: Path,
    model: PreTrainedModel,
    architecture: str,
    change: Callable[[str, np.ndarray], Any] = lambda name, values: values,
    tell: Callable[[GGUFWriter], Any] = lambda writer: None,
) -> None:
    """The model as a GGUF file. ``change`` is asked how a tensor is kept, None leaves it out; ``tell`` adds metadata."""
    config, writer = model.config, GGUFWriter(path, architecture)
    describe(writer, config, architecture)
    tell(writer)
    names = get_tensor_name_map(next(k for k, v in MODEL_ARCH_NAMES.items() if v == architecture), config.num_hidden_layers)
    for name, values in stored(model).items():
        base, suffix = name.rsplit(".", 1)
        mapped = names.get_name(base)
        assert mapped is not None, name
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(base.split(".")[-1])
        if heads and architecture in ("llama", "smollm3"):
            values = paired(values, heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        kept = change(f"{mapped}.{suffix}", np.ascontiguousarray(values))
        if isinstance(kept, tuple):
            writer.add_tensor(f"{mapped}.{suffix}", kept[0], raw_dtype=kept[1])
        elif kept is not None:
            writer.add_tensor(f"{mapped}.{suffix}", kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model: PreTrainedModel) -> Tensor:
    ids = torch.randint(3, SIZES["vocab_size"], (2, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(ids).logits


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
