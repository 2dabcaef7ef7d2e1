"""Where a decoder's parameters lie in Hugging Face's files: some families keep several in one tensor, or one in several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from serval.language.config import DecoderConfig, ExpertsConfig, LayerConfig


@dataclass(frozen=True)
class Piece:
    """A parameter of ours, or the part of it at ``index`` along its first axes."""

    name: str
    index: tuple[int | slice, ...] = ()


Layout = dict[str, list[Piece]]
"""Tensor of a file → the pieces it holds, one under the other along its first axis."""


def layout(config: DecoderConfig, parameters: Mapping[str, Tensor]) -> Layout:
    """Every tensor of the family's files, by its name there, without the leading `prefix_of`."""
    found: Layout = {}
    for name in parameters:
        parts = name.split(".")
        if parts[0] != "layers":
            found[_MAMBA2.get(name, name) if config.family == "mamba2" else name] = [Piece(name)]
            continue
        layer = config.layers[int(parts[1])]
        if not isinstance(layer, LayerConfig):
            found[name] = [Piece(name)]
            continue
        tail = ".".join(parts[2:])
        if layer.norms == "before" and tail == "pre_feedforward_layernorm.weight":
            tail = "post_attention_layernorm.weight"
        here = ".".join(parts[:2])
        if config.family == "phi3" and parts[3] in _FUSED:
            found.setdefault(f"{here}.{parts[2]}.{_FUSED[parts[3]]}.weight", []).append(Piece(name))
        elif isinstance(layer.feed_forward, ExpertsConfig) and parts[2] == "mlp":
            found |= _experts(config.family, here, parts[3:], name, layer.feed_forward)
        else:
            found[f"{here}.{tail}"] = [Piece(name)]
    return found


def prefix_of(config: DecoderConfig) -> str:
    """What names in the family's files begin with, but for the head's."""
    return "backbone." if config.family == "mamba2" else "model."


_MAMBA2 = {"embed_tokens.weight": "embeddings.weight", "norm.weight": "norm_f.weight"}
_FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}


def _experts(family: str, layer: str, parts: list[str], name: str, config: ExpertsConfig) -> Layout:
    mixtral = family == "mixtral"
    block = f"{layer}.{'block_sparse_moe' if mixtral else 'mlp'}"
    if parts[0] == "gate":
        return {f"{block}.gate.weight": [Piece(name)]}
    gate, up, down = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    found: Layout = {}
    for expert in range(config.count):
        mine = f"{block}.experts.{expert}"
        if parts[1] == "gate_up_proj":
            found[f"{mine}.{gate}.weight"] = [Piece(name, (expert, slice(0, config.width)))]
            found[f"{mine}.{up}.weight"] = [Piece(name, (expert, slice(config.width, None)))]
        else:
            found[f"{mine}.{down}.weight"] = [Piece(name, (expert,))]
    return found


def piece(parameters: Mapping[str, Tensor], where: Piece) -> Tensor:
    """The view of a parameter that ``where`` names."""
    parameter = parameters[where.name]
    return parameter[where.index] if where.index else parameter
