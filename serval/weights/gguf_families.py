"""The families that a GGUF file may be of: what each of llama.cpp's architectures is at Hugging Face.

The facts are those of llama.cpp's conversion (ggml-org/llama.cpp, conversion/) and of how it runs them (src/models/).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from serval.weights.gguf_keys import Keys

Fields = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """Attributes:
    model_type, architecture: as ``config.json`` has them.
    fields: further fields of the configuration, from the file's keys and the fields that all families have.
    norms: llama.cpp's names of a layer's norms, and Hugging Face's.
    paired: numbers that turn together lie side by side in the file, where Hugging Face has all first ones first.
    offset: what the file has added to the weights of norms.
    fused: queries, keys and values are one matrix, and so are the gate and what it gates.
    qk_norm: whether queries and keys are normed over each "head" or over all of them, the "width".
    bias: which projections of attention have biases: none, all but the output, or all where the file has some.
    feed_bias: the feed-forward has biases where the file has some.
    experts: names of the block of experts, and of their gate, up and down projections.
    """

    model_type: str
    architecture: str
    fields: Callable[[Keys, Fields], Fields]
    norms: dict[str, str]
    paired: bool = False
    offset: float = 0.0
    fused: bool = False
    qk_norm: Literal["head", "width"] | None = None
    bias: Literal["none", "input", "maybe"] = "maybe"
    feed_bias: bool = False
    experts: tuple[str, str, str, str] | None = None


_BEHIND = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_BEFORE = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_AROUND = {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm", **_BEHIND}


def _plain(keys: Keys, config: Fields) -> Fields:
    if _window(keys):  # Olmo 3 calls itself olmo2
        raise keys.refusal("it looks back through a window, which its family does not", "take another model")
    return {"hidden_act": "silu"}


def _window(keys: Keys) -> int | None:
    """How far back layers look; the file says 0, or nothing, where that is all the way."""
    return keys.whole("attention.sliding_window") if keys.value("attention.sliding_window") else None


def _mistral(keys: Keys, config: Fields) -> Fields:
    return {"hidden_act": "silu", "sliding_window": _window(keys)}


def _mixtral(keys: Keys, config: Fields) -> Fields:
    count, chosen = _experts(keys)
    return _mistral(keys, config) | {"num_local_experts": count, "num_experts_per_tok": chosen}


def _experts(keys: Keys) -> tuple[int, int]:
    """How many there are, and how many each token passes through."""
    count, chosen = keys.whole("expert_count"), keys.whole("expert_used_count")
    if chosen > count:
        raise keys.refusal(f"it chooses {chosen} of {count} experts", "fetch it again")
    return count, chosen


def _qwen(keys: Keys, config: Fields) -> Fields:
    return _plain(keys, config) | {"use_sliding_window": False, "sliding_window": None}


def _qwen3_moe(keys: Keys, config: Fields) -> Fields:
    count, chosen = _experts(keys)
    width = keys.whole("expert_feed_forward_length", max(1, config["intermediate_size"] // chosen))
    every = {"decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True}  # as llama.cpp runs all of them
    return _qwen(keys, config) | {"num_experts": count, "num_experts_per_tok": chosen, "moe_intermediate_size": width, **every}


def _phi3(keys: Keys, config: Fields) -> Fields:
    rope, head_dim = config["rope_parameters"], config["head_dim"]
    if rope["rope_type"] not in ("default", "longrope") or head_dim != config["hidden_size"] // config["num_attention_heads"]:
        raise keys.refusal("its heads or its positions are not Phi-3's", "take another model")
    turning = keys.whole("rope.dimension_count", head_dim)
    share = turning / head_dim
    if int(head_dim * share) < turning:  # as those who read it work it out
        share = math.nextafter(share, 1.0)
    trained = keys.whole("rope.scaling.original_context_length", config["max_position_embeddings"])
    return {
        "hidden_act": "silu",
        "original_max_position_embeddings": trained,
        "rope_parameters": {**rope, "partial_rotary_factor": share},
        "sliding_window": _window(keys),
    }


def _gemma2(keys: Keys, config: Fields) -> Fields:
    window = keys.whole("attention.sliding_window", 4096)
    caps = {name: keys.number(name, most) for name, most in (("attn_logit_softcapping", 50), ("final_logit_softcapping", 30))}
    return _gemma(config, largest=46) | caps | {"sliding_window": window, "layer_types": _layer_types(keys, config, 2)}


def _gemma3(keys: Keys, config: Fields) -> Fields:
    window = _window(keys)
    near = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base_swa", 10000.0)}
    cap = keys.number("final_logit_softcapping") if keys.value("final_logit_softcapping") else None
    return _gemma(config, largest=62) | {
        "attn_logit_softcapping": None,
        "final_logit_softcapping": cap,
        "layer_types": _layer_types(keys, config, 6 if window else 1),
        "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": near},
        "sliding_window": window or config["max_position_embeddings"],
    }


def _gemma(config: Fields, *, largest: int) -> Fields:
    """Scores are divided by the root of a head's width, but in the largest model of each kind, which its depth tells."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    scalar = max(1, width // heads) if config["num_hidden_layers"] == largest else config["head_dim"]
    return {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": scalar}


def _layer_types(keys: Keys, config: Fields, period: int) -> list[str]:
    """Which layers look through a window: all but every ``period``-th, or as the file lists them."""
    layers, told = config["num_hidden_layers"], keys.value("attention.sliding_window_pattern")
    if isinstance(told, list):
        if len(told) != layers or not all(isinstance(each, bool) for each in told):
            raise keys.refusal("its sliding_window_pattern does not tell of every layer")
        windowed = told
    else:
        period = keys.whole("attention.sliding_window_pattern", period)
        windowed = [bool((index + 1) % period) for index in range(layers)]
    return ["sliding_attention" if each else "full_attention" for each in windowed]


def _smollm3(keys: Keys, config: Fields) -> Fields:
    return _qwen(keys, config) | {"no_rope_layer_interval": 4}  # llama.cpp has it in its code, and its files do not tell


def _llama(keys: Keys) -> Family:
    """Llama, and what llama.cpp runs as one: Mixtral where there are experts, Mistral where there is a window.

    A Mistral without a window is a Llama in all but name.
    """
    if keys.value("expert_count"):
        experts = ("block_sparse_moe", "w1", "w3", "w2")
        return Family("mixtral", "MixtralForCausalLM", _mixtral, _BEFORE, paired=True, bias="none", experts=experts)
    if _window(keys):
        return Family("mistral", "MistralForCausalLM", _mistral, _BEFORE, paired=True, bias="none")
    return Family("llama", "LlamaForCausalLM", _plain, _BEFORE, paired=True, feed_bias=True)


_FAMILIES = {
    "qwen2": Family("qwen2", "Qwen2ForCausalLM", _qwen, _BEFORE, bias="input"),
    "qwen3": Family("qwen3", "Qwen3ForCausalLM", _qwen, _BEFORE, qk_norm="head"),
    "qwen3moe": Family(
        *("qwen3_moe", "Qwen3MoeForCausalLM", _qwen3_moe, _BEFORE),
        qk_norm="head",
        experts=("mlp", "gate_proj", "up_proj", "down_proj"),
    ),
    "phi3": Family("phi3", "Phi3ForCausalLM", _phi3, _BEFORE, fused=True, bias="none"),
    "gemma2": Family("gemma2", "Gemma2ForCausalLM", _gemma2, _AROUND, offset=1.0),
    "gemma3": Family("gemma3_text", "Gemma3ForCausalLM", _gemma3, _AROUND, offset=1.0, qk_norm="head"),
    "olmo2": Family("olmo2", "Olmo2ForCausalLM", _plain, _BEHIND, qk_norm="width"),
    "smollm3": Family("smollm3", "SmolLM3ForCausalLM", _smollm3, _BEFORE, paired=True, feed_bias=True),
}
ARCHITECTURES = ("llama", *_FAMILIES)


def family_of(keys: Keys) -> Family:
    """The family of a file whose architecture is one of `ARCHITECTURES`."""
    return _FAMILIES[keys.architecture] if keys.architecture in _FAMILIES else _llama(keys)
