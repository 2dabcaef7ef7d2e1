"""The sizes of a decoder of the Llama family."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serval.refusal import Refusal

_MOST = {"hidden_size": 65_536, "intermediate_size": 524_288, "num_hidden_layers": 1_024, "vocab_size": 4_000_000}
_MOST |= {"num_attention_heads": 1_024, "num_key_value_heads": 1_024, "head_dim": 4_096, "max_position_embeddings": 2**24}


@dataclass(frozen=True)
class LlamaConfig:
    """Names are those of Hugging Face's ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool

    @classmethod
    def from_json(cls, path: Path) -> LlamaConfig:
        """Read a ``config.json``.

        Raises:
            Refusal: missing, damaged, of another architecture, or with sizes that cannot be.
        """
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise Refusal(path.name, (error.strerror or "it cannot be read").lower(), "fetch the weights again") from None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise Refusal(path.name, "it is not a model's configuration", "fetch the weights again")
        return cls._checked(content, path.name)

    @classmethod
    def _checked(cls, content: dict[str, Any], name: str) -> LlamaConfig:
        if content.get("model_type") != "llama":
            raise Refusal(name, "its architecture is not Llama's", "take a model of the Llama family")
        rope = content.get("rope_parameters") or content.get("rope_scaling") or {}
        if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type", "default")) != "default":
            raise Refusal(name, "it rescales positions, which is not read here yet", "take a model without it")
        if content.get("attention_bias") or content.get("mlp_bias") or content.get("hidden_act", "silu") != "silu":
            raise Refusal(name, "its layers are not plain Llama's", "take a model of the Llama family")
        content = {"num_key_value_heads": content.get("num_attention_heads"), **content}
        if not content.get("head_dim"):
            width, heads = content.get("hidden_size"), content.get("num_attention_heads")
            content["head_dim"] = width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None
        sizes = {key: _whole(content.get(key), key, most, name) for key, most in _MOST.items()}
        if sizes["num_attention_heads"] % sizes["num_key_value_heads"] or sizes["head_dim"] % 2:
            raise Refusal(name, "its heads do not fit together", "fetch the weights again")
        return cls(
            **sizes,
            rms_norm_eps=_positive(content.get("rms_norm_eps", 1e-6), "rms_norm_eps", name),
            rope_theta=_positive(rope.get("rope_theta", content.get("rope_theta", 10000.0)), "rope_theta", name),
            tie_word_embeddings=content.get("tie_word_embeddings", False) is True,
        )


def _whole(value: object, key: str, most: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Refusal(name, f"its {key} is not a number from 1 to {most:,}", "fetch the weights again")
    return value


def _positive(value: object, key: str, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
        raise Refusal(name, f"its {key} is not a positive number", "fetch the weights again")
    return float(value)
