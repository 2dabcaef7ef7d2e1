"""The families of decoders: what each ``config.json`` means, in terms of the one composition of `config`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from serval.language.config import AttentionConfig, DecoderConfig, ExpertsConfig, FeedForwardConfig, LayerConfig, NormConfig
from serval.language.feed_forward import ACTIVATIONS
from serval.language.fields import MOST, Fields
from serval.language.rotary_config import read_rotary
from serval.language.state_space import Mamba2Config


def read_config(path: Path) -> DecoderConfig:
    """A decoder's composition from its ``config.json``.

    Raises:
        Refusal: missing, damaged, of a family that is not known, or with sizes that cannot be.
    """
    return config_from(Fields.from_json(path))


def config_from(fields: Fields | Mapping[str, Any], name: str = "config.json") -> DecoderConfig:
    """The same from fields that were read already. Raises `Refusal` as `read_config`."""
    fields = fields if isinstance(fields, Fields) else Fields(fields, name)
    family = fields.word("model_type", "")
    read = FAMILIES.get(family)
    if read is None:
        shown = ascii(family)[1:-1][:40]
        raise fields.refusal(f"its architecture “{shown}” is not known here", f"take one of {', '.join(FAMILIES)}")
    return replace(read(fields), source=dict(fields.content))


def _layers(fields: Fields) -> int:
    return fields.whole("num_hidden_layers")


def _attention(fields: Fields, *, theta: float = 10_000.0, head_dim: int | None = None, **options: Any) -> AttentionConfig:
    width, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    kv_heads = fields.whole("num_key_value_heads", heads)
    head_dim = fields.whole("head_dim", head_dim or max(width // heads, 1))
    if heads % kv_heads or head_dim % 2:
        raise fields.refusal("its heads do not fit together")
    options.setdefault("rotary", read_rotary(fields, head_dim, theta=theta))
    options.setdefault("scale", head_dim**-0.5)
    return AttentionConfig(heads=heads, kv_heads=kv_heads, head_dim=head_dim, **options)


def _feed(fields: Fields, *, bias: bool = False, key: str = "hidden_act", activation: str = "silu") -> FeedForwardConfig:
    return FeedForwardConfig(fields.whole("intermediate_size"), _activation(fields, key, activation), bias)


def _activation(fields: Fields, key: str, default: str) -> str:
    name = fields.word(key, default)
    if name not in ACTIVATIONS:
        raise fields.refusal(f"its {key} is not {', '.join(ACTIVATIONS)}", "take a model with one of these")
    return name


def _decoder(
    fields: Fields, layers: Sequence[LayerConfig], *, eps: float = 1e-6, tied: bool = False, **rest: Any
) -> DecoderConfig:
    norm = NormConfig(fields.number("rms_norm_eps", eps), offset=rest.pop("offset", 0.0), wide=rest.pop("wide", False))
    return DecoderConfig(
        family=fields.word("model_type", ""),
        vocab_size=fields.whole("vocab_size"),
        width=fields.whole("hidden_size"),
        layers=tuple(layers),
        norm=norm,
        max_position=fields.whole("max_position_embeddings"),
        tied=fields.flag("tie_word_embeddings", tied),
        **rest,
    )


def _windows(fields: Fields, default: Callable[[int], bool], *, size: int | None) -> list[int | None]:
    """The window of each layer, by ``layer_types`` where they are given."""
    count = _layers(fields)
    kinds = fields.items("layer_types", str, count)
    sliding = [kind == "sliding_attention" for kind in kinds] if kinds else [default(index) for index in range(count)]
    if any(sliding) and size is None:
        raise fields.refusal("it has layers with a window, and no sliding_window")
    return [size if each else None for each in sliding]


def _window(fields: Fields, default: int | None = None) -> int | None:
    missing = "sliding_window" not in fields.content
    return fields.whole("sliding_window", default) if fields.given("sliding_window") or (missing and default) else None


def _llama(fields: Fields) -> DecoderConfig:
    """Llama (Touvron et al. 2023; Llama 3, 2024) and SmolLM2."""
    bias = fields.flag("attention_bias")
    attention = _attention(fields, input_bias=bias, output_bias=bias)
    layer = LayerConfig(attention, _feed(fields, bias=fields.flag("mlp_bias")))
    return _decoder(fields, [layer] * _layers(fields))


def _mistral(fields: Fields) -> DecoderConfig:
    """Mistral (Jiang et al. 2023, arXiv:2310.06825)."""
    layer = LayerConfig(_attention(fields, window=_window(fields, 4096)), _feed(fields))
    return _decoder(fields, [layer] * _layers(fields))


def _qwen(fields: Fields, **options: Any) -> list[LayerConfig]:
    sliding = fields.flag("use_sliding_window")
    size, first = (_window(fields, 4096) if sliding else None), fields.content.get("max_window_layers", 28)
    if not isinstance(first, int):
        raise fields.refusal("its max_window_layers is not a number")
    windows = _windows(fields, lambda index: size is not None and index >= first, size=size)
    attention = _attention(fields, **options)
    return [LayerConfig(replace(attention, window=each), _feed(fields)) for each in windows]


def _qwen2(fields: Fields) -> DecoderConfig:
    """Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671), and the text half of Qwen2-VL and Qwen2.5-VL."""
    return _decoder(fields, _qwen(fields, input_bias=True))


def _qwen3(fields: Fields) -> DecoderConfig:
    """Qwen3 (Yang et al. 2025, arXiv:2505.09388)."""
    bias = fields.flag("attention_bias")
    return _decoder(fields, _qwen(fields, head_dim=128, qk_norm="head", input_bias=bias, output_bias=bias))


def _qwen3_moe(fields: Fields) -> DecoderConfig:
    """Qwen3-MoE: every ``decoder_sparse_step``-th layer is routed, but those of ``mlp_only_layers``."""
    bias, count = fields.flag("attention_bias"), _layers(fields)
    window = _window(fields, 4096) if fields.flag("use_sliding_window") else None
    attention = _attention(fields, qk_norm="head", input_bias=bias, output_bias=bias, window=window)
    experts = ExpertsConfig(
        count=fields.whole("num_experts", fields.whole("num_local_experts", 128)),
        chosen=fields.whole("num_experts_per_tok", 8),
        width=fields.whole("moe_intermediate_size", 768),
        renormalise=fields.flag("norm_topk_prob"),
        activation=_activation(fields, "hidden_act", "silu"),
    )
    _fits(fields, experts)
    step, dense = fields.whole("decoder_sparse_step", 1), fields.content.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise fields.refusal("its mlp_only_layers is not a list")
    routed = [(index + 1) % step == 0 and index not in dense for index in range(count)]
    return _decoder(fields, [LayerConfig(attention, experts if each else _feed(fields)) for each in routed])


def _mixtral(fields: Fields) -> DecoderConfig:
    """Mixtral (Jiang et al. 2024, arXiv:2401.04088)."""
    experts = ExpertsConfig(
        count=fields.whole("num_local_experts", 8),
        chosen=fields.whole("num_experts_per_tok", 2),
        width=fields.whole("intermediate_size"),
        renormalise=True,
        activation=_activation(fields, "hidden_act", "silu"),
    )
    _fits(fields, experts)
    layer = LayerConfig(_attention(fields, theta=1e6, window=_window(fields)), experts)
    return _decoder(fields, [layer] * _layers(fields), eps=1e-5)


def _fits(fields: Fields, experts: ExpertsConfig) -> None:
    if experts.chosen > experts.count:
        raise fields.refusal(f"a token cannot take {experts.chosen} of {experts.count} experts")


def _phi3(fields: Fields) -> DecoderConfig:
    """Phi-3 and Phi-3.5 (Abdin et al. 2024, arXiv:2404.14219)."""
    layer = LayerConfig(_attention(fields, window=_window(fields)), _feed(fields))
    return _decoder(fields, [layer] * _layers(fields), eps=1e-5)


def _gemma2(fields: Fields) -> DecoderConfig:
    """Gemma 2 (Riviere et al. 2024, arXiv:2408.00118): every other layer has a window."""
    windows = _windows(fields, lambda index: index % 2 == 0, size=_window(fields, 4096))
    return _gemma(fields, windows, softcap=fields.maybe("attn_logit_softcapping"))


def _gemma3(fields: Fields) -> DecoderConfig:
    """Gemma 3, the text half (Kamath et al. 2025, arXiv:2503.19786): five layers with a window to one without."""
    if fields.flag("use_bidirectional_attention"):
        raise fields.refusal("its tokens see each other both ways", "take one that generates text")
    every = fields.whole("sliding_window_pattern", 6)
    windows = _windows(fields, lambda index: (index + 1) % every != 0, size=_window(fields, 4096))
    return _gemma(fields, windows, qk_norm="head", softcap=fields.maybe("attn_logit_softcapping"))


def _gemma(fields: Fields, windows: Sequence[int | None], **options: Any) -> DecoderConfig:
    bias, third = fields.flag("attention_bias"), options.get("qk_norm") is not None
    scale = fields.number("query_pre_attn_scalar", 256) ** -0.5
    attention = _attention(fields, head_dim=256, input_bias=bias, output_bias=bias, scale=scale, **options)
    feed = _feed(fields, key="hidden_activation", activation="gelu_pytorch_tanh")
    layers = []
    for each in windows:
        rotary = attention.rotary
        if third:  # layers with a window turn ten to a hundred times faster
            kind, theta = ("sliding_attention", 1e4) if each else ("full_attention", 1e6)
            rotary = read_rotary(fields, attention.head_dim, theta=theta, kind=kind)
        layers.append(LayerConfig(replace(attention, window=each, rotary=rotary), feed, "both"))
    scale = fields.whole("hidden_size") ** 0.5
    cap = fields.maybe("final_logit_softcapping")
    return _decoder(fields, layers, tied=True, offset=1.0, wide=True, embedding_scale=scale, logit_softcap=cap)


def _olmo2(fields: Fields) -> DecoderConfig:
    """OLMo 2 (Walsh et al. 2025, arXiv:2501.00656): norms behind, none before."""
    bias = fields.flag("attention_bias")
    attention = _attention(fields, qk_norm="width", input_bias=bias, output_bias=bias)
    layer = LayerConfig(attention, _feed(fields), "behind")
    return _decoder(fields, [layer] * _layers(fields), eps=1e-5, wide=True)


def _smollm3(fields: Fields) -> DecoderConfig:
    """SmolLM3 (Bakouch et al. 2025): every fourth layer has no positions (NoPE, Yang et al. 2025, arXiv:2501.18795)."""
    count, bias = _layers(fields), fields.flag("attention_bias")
    every = fields.whole("no_rope_layer_interval", 4)
    turned = fields.items("no_rope_layers", int, count) or [int((index + 1) % every != 0) for index in range(count)]
    size = _window(fields) if fields.flag("use_sliding_window") else None
    windows = _windows(fields, lambda index: size is not None and not turned[index], size=size)
    attention = _attention(fields, theta=2e6, input_bias=bias, output_bias=bias)
    feed = _feed(fields, bias=fields.flag("mlp_bias"))
    pairs = zip(windows, turned, strict=True)
    layers = [LayerConfig(replace(attention, window=w, rotary=attention.rotary if t else None), feed) for w, t in pairs]
    return _decoder(fields, layers, tied=True)


def _mamba2(fields: Fields) -> DecoderConfig:
    """Mamba-2 (Dao and Gu 2024, arXiv:2405.21060), such as Codestral Mamba. Its ``chunk_size``, for GPUs, is passed over."""
    heads, groups = fields.whole("num_heads", 128), fields.whole("n_groups", 8)
    if heads % groups or fields.word("hidden_act", "silu") != "silu":
        raise fields.refusal("its layers are not Mamba-2's")
    low, high = map(_bound, fields.items("time_step_limit", object, 2) or (0.0, math.inf))
    if low is None or high is None or not 0 <= low <= high:
        raise fields.refusal("its time_step_limit is not two numbers, the lesser first")
    layer = Mamba2Config(
        heads=heads,
        head_dim=fields.whole("head_dim", 64),
        state_size=fields.whole("state_size", 128),
        groups=groups,
        conv_kernel=fields.whole("conv_kernel", 4),
        bias=fields.flag("use_bias"),
        conv_bias=fields.flag("use_conv_bias", True),
        limit=(low, high),
        wide_residual=fields.flag("residual_in_fp32", True),
    )
    return DecoderConfig(
        family="mamba2",
        vocab_size=fields.whole("vocab_size"),
        width=fields.whole("hidden_size"),
        layers=(layer,) * _layers(fields),
        norm=NormConfig(fields.number("layer_norm_epsilon", 1e-5)),
        max_position=MOST["max_position_embeddings"],  # its memory does not grow, so nothing limits it
        tied=fields.flag("tie_word_embeddings"),
    )


def _bound(value: object) -> float | None:
    """A number, also infinity as transformers writes it; None for anything else."""
    if isinstance(value, dict):
        value = {"Infinity": math.inf}.get(str(value.get("__float__")))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


FAMILIES: dict[str, Callable[[Fields], DecoderConfig]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen2_vl_text": _qwen2,
    "qwen2_5_vl_text": _qwen2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "phi3": _phi3,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "olmo2": _olmo2,
    "smollm3": _smollm3,
    "mixtral": _mixtral,
    "mamba2": _mamba2,
}
