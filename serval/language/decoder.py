"""A decoder of the Llama family (Touvron et al. 2023, arXiv:2302.13971): embed, layers, norm, head.

Parameters have Hugging Face's names, so that its files load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.language.attention import Attention
from serval.language.cache import KVCache
from serval.language.config import LlamaConfig
from serval.language.rotary import angles


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019, arXiv:1910.07467), computed in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, hidden: Tensor) -> Tensor:
        wide = hidden.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(hidden.dtype)


class FeedForward(nn.Module):
    """Gated feed-forward, SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class Layer(nn.Module):
    """Attention, then feed-forward, each added to what came in."""

    def __init__(self, config: LlamaConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, hidden: Tensor, turned: tuple[Tensor, Tensor], cache: KVCache | None) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), turned, cache)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Decoder(nn.Module):
    """Token ids to the logits of the token that follows each. Its numbers come from `load_decoder`."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        rows = torch.empty(config.vocab_size, config.hidden_size)  # drawing them would make PyTorch load its compiler: 1 s
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=rows)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """An empty cache of this decoder's shape, type and device."""
        return KVCache(self.config, capacity, batch=batch, dtype=self.dtype, device=self.device)

    def forward(
        self, ids: Tensor, cache: KVCache | None = None, *, positions: Tensor | None = None, last: bool = False
    ) -> Tensor:
        """Read ``ids`` (batch, new), after what ``cache`` holds, and add them to it.

        Args:
            positions: (batch, new), real-valued; by default they go on from where the cache ends.
            last: only the logits of the last token are wanted, as in reading a prompt.

        Returns:
            Logits (batch, new or 1, vocabulary), of the decoder's type.

        Raises:
            Refusal: the cache would go beyond its capacity.
        """
        states = self.states(ids, cache, positions=positions)
        return self.logits(states[:, -1:] if last else states)

    def states(self, ids: Tensor, cache: KVCache | None = None, *, positions: Tensor | None = None) -> Tensor:
        """What the head reads, (batch, new, width); see `forward`."""
        batch, new = ids.shape
        if positions is None:
            start = cache.next_position if cache is not None else 0.0
            positions = (torch.arange(new, device=ids.device, dtype=torch.float32) + start).expand(batch, new)
        if cache is not None:
            cache.extend(positions)
        hidden = self.embed_tokens(ids)
        turned = angles(positions, self.config.head_dim, self.config.rope_theta)
        for layer in self.layers:
            hidden = layer(hidden, turned, cache)
        return self.norm(hidden)

    def logits(self, states: Tensor) -> Tensor:
        """(batch, any, vocabulary) from `states`."""
        head = self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        flat = states.reshape(-1, states.shape[-1])  # of three dimensions, a single token would have the whole head copied
        return functional.linear(flat, head).view(*states.shape[:-1], -1)
