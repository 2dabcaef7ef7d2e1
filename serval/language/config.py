"""What a decoder is made of, layer by layer. `families` reads it from a model's ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from serval.language.rotary import Rotary

if TYPE_CHECKING:
    from serval.language.state_space import Mamba2Config


@dataclass(frozen=True)
class NormConfig:
    """Attributes:
    offset: added to the weights (1 for Gemma's).
    wide: multiply by the weights in float32 and round once, rather than round first.
    """

    eps: float
    offset: float = 0.0
    wide: bool = False


@dataclass(frozen=True)
class AttentionConfig:
    """Attributes:
    qk_norm: norm of queries and keys: over each "head" (Qwen3, Gemma 3) or over all heads, the "width" (OLMo 2).
    scale: what scores are multiplied with.
    softcap: scores are kept within ± this (Gemma 2).
    window: each token sees so many of the last tokens, itself included; None for all.
    rotary: None for layers without positions (every fourth of SmolLM3).
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    rotary: Rotary | None
    window: int | None = None
    input_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["head", "width"] | None = None
    softcap: float | None = None


@dataclass(frozen=True)
class FeedForwardConfig:
    """A gated feed-forward part of ``width`` hidden numbers, its maps with a ``bias`` or without."""

    width: int
    activation: str = "silu"
    bias: bool = False


@dataclass(frozen=True)
class ExpertsConfig:
    """Attributes:
    count, chosen: how many experts there are, and how many each token passes through.
    width: of each expert's hidden states.
    renormalise: the shares of the chosen ones sum to 1.
    """

    count: int
    chosen: int
    width: int
    renormalise: bool
    activation: str = "silu"


@dataclass(frozen=True)
class LayerConfig:
    """Attributes:
    norms: where they stand around attention and feed-forward.
    """

    attention: AttentionConfig
    feed_forward: FeedForwardConfig | ExpertsConfig
    norms: Literal["before", "behind", "both"] = "before"


@dataclass(frozen=True)
class DecoderConfig:
    """Attributes:
    family: Hugging Face's ``model_type``.
    embedding_scale: what embeddings are multiplied with (Gemma: √width).
    logit_softcap: logits are kept within ± this (Gemma 2).
    source: the ``config.json`` that this was read from, to be written back.
    """

    family: str
    vocab_size: int
    width: int
    layers: tuple[LayerConfig | Mamba2Config, ...]
    norm: NormConfig
    max_position: int
    tied: bool
    embedding_scale: float | None = None
    logit_softcap: float | None = None
    source: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
