"""A decoder-only language model: embed, layers, norm, head. What differs between families is in its `DecoderConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence
from serval.language.attention_pattern import CAUSAL, AttentionPattern
from serval.language.cache import KVCache, numbered
from serval.language.config import DecoderConfig, LayerConfig
from serval.language.layer import Layer
from serval.language.norm import RMSNorm
from serval.language.reading import Reading, through
from serval.language.state_space import Mamba2Layer
from serval.refusal import Refusal


class Decoder(nn.Module):
    """Tokens to the logits of the token that follows each. Its numbers come from `load_decoder`.

    ``layers`` are called ``layer(hidden, reading)``; what `after` puts behind one of them is called alike, and may return
    ``(hidden, reading)`` to let later layers see fewer tokens.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        rows = torch.empty(config.vocab_size, config.width)  # drawing them would make PyTorch load its compiler: 1 s
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width, _weight=rows)
        self.layers = nn.ModuleList(
            Layer(config.width, each, config.norm, index)
            if isinstance(each, LayerConfig)
            else Mamba2Layer(config.width, each, config.norm, index)
            for index, each in enumerate(config.layers)
        )
        self.norm = RMSNorm(config.width, config.norm)
        self.lm_head = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)
        self.inserted = nn.ModuleDict()

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    def after(self, layer: int, module: nn.Module) -> None:
        """Put ``module`` behind a layer: cross-attention every few layers, a pruning of tokens, a tap."""
        if not 0 <= layer < len(self.layers):
            raise ValueError(f"There is no layer {layer} of {len(self.layers)}.")
        self.inserted[str(layer)] = module

    def new_cache(self, capacity: int, batch: int = 1, **options: Any) -> KVCache:
        """An empty cache of this decoder's shape, type and device; ``options`` are `KVCache`'s eviction and positions."""
        attention = [layer.attention if isinstance(layer, LayerConfig) else None for layer in self.config.layers]
        rotaries = [each.rotary for each in attention if each is not None]
        options.setdefault("turned", all(rotary is None or rotary.fixed for rotary in rotaries))
        shapes = [(0, 0) if each is None else (each.kv_heads, each.head_dim) for each in attention]
        return KVCache(shapes, capacity, batch=batch, dtype=self.dtype, device=self.device, **options)

    def forward(
        self,
        tokens: Tensor | MultimodalSequence,
        cache: KVCache | None = None,
        *,
        valid: Tensor | None = None,
        positions: Tensor | None = None,
        pattern: AttentionPattern = CAUSAL,
        features: Mapping[str, Tensor] | None = None,
        last: bool = False,
    ) -> Tensor:
        """Read ``tokens``, after what ``cache`` holds, and add them to it.

        Args:
            tokens: ids (batch, new), or a sequence, which has its own ``valid`` and ``positions``.
            valid: (batch, new) bool, False at padding, which may stand anywhere; by default nothing is.
            positions: (batch, new[, axes]), real-valued; by default they go on from where each row of the cache ends.
            pattern: which token may see which.
            features: what cross-attention reads.
            last: only the logits of each row's last valid token are wanted, as in reading a prompt.

        Returns:
            Logits (batch, new or 1, vocabulary), of the decoder's type.

        Raises:
            Refusal: the cache would go beyond its capacity, or the pattern lets earlier tokens see these.
        """
        states, read = self.read(tokens, cache, valid=valid, positions=positions, pattern=pattern, features=features)
        if last:
            ends = (read.valid * torch.arange(1, read.length + 1, device=self.device)).argmax(1)
            states = states[torch.arange(read.batch, device=self.device), ends][:, None]
        return self.logits(states)

    def sequence(
        self,
        tokens: Tensor | MultimodalSequence,
        cache: KVCache | None = None,
        *,
        valid: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> MultimodalSequence:
        """Ids (batch, new) as a sequence of text; see `forward`. Sequences stay as they are."""
        if isinstance(tokens, MultimodalSequence):
            return tokens
        if valid is None:
            valid = torch.ones_like(tokens, dtype=torch.bool)
        if positions is None:
            positions = (valid.cumsum(1) - 1).clamp_min(0).float()
            if cache is not None:
                positions = positions + cache.next_position[:, None]
        return MultimodalSequence(
            embeds=self.embed(tokens),
            modality=torch.full_like(tokens, Modality.TEXT),
            source=torch.full_like(tokens, -1),
            time=torch.full(tokens.shape, torch.nan, dtype=torch.float64, device=tokens.device),
            position=positions.float(),
            labels=torch.full_like(tokens, IGNORED),
            valid=valid,
        )

    def embed(self, ids: Tensor) -> Tensor:
        """(…, width) for ids (…): the table's rows, in the family's scale."""
        rows = self.embed_tokens(ids)
        scale = self.config.embedding_scale
        return rows if scale is None else rows * torch.tensor(scale, dtype=rows.dtype, device=rows.device)

    def read(
        self,
        tokens: Tensor | MultimodalSequence,
        cache: KVCache | None = None,
        *,
        valid: Tensor | None = None,
        positions: Tensor | None = None,
        pattern: AttentionPattern = CAUSAL,
        features: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, MultimodalSequence]:
        """What the head reads, (batch, remaining, width), and the tokens it is of, with their labels; see `forward`. They are
        the new ones, and fewer where some were pruned between layers."""
        sequence = self.sequence(tokens, cache, valid=valid, positions=positions)
        reading = self.reading(sequence, cache, pattern=pattern, features=features)
        hidden = sequence.embeds
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, reading)
            if str(index) in self.inserted:
                changed = self.inserted[str(index)](hidden, reading)
                hidden, reading = changed if isinstance(changed, tuple) else (changed, reading)
        normed = through(self.norm, hidden, reading.sequence)
        return normed.to(self.dtype), reading.sequence  # a family may keep what lies between layers wider

    def states(self, tokens: Tensor | MultimodalSequence, cache: KVCache | None = None, **options: Any) -> Tensor:
        """The first of what `read` gives."""
        return self.read(tokens, cache, **options)[0]

    def reading(
        self,
        sequence: MultimodalSequence,
        cache: KVCache | None = None,
        *,
        pattern: AttentionPattern = CAUSAL,
        features: Mapping[str, Tensor] | None = None,
    ) -> Reading:
        """One pass about to be made, of which nothing is remembered yet.

        Raises:
            Refusal: the pattern lets what was read see what is to be read, or a token see later ones where a layer keeps a
                recurrent state; or the cache has no room.
        """
        if not pattern.streamable:
            self._check_ahead(sequence, cache, pattern)
        number = numbered(sequence.valid) if cache is None else cache.begin(sequence.position, sequence.valid)
        return Reading(sequence, number, cache, pattern, features or {})

    def _check_ahead(self, sequence: MultimodalSequence, cache: KVCache | None, pattern: AttentionPattern) -> None:
        """A pattern that is not streamable may let tokens see what no order of reading gives them."""
        before = None if cache is None else next(filter(None, map(cache.entries, range(len(self.layers)))), None)
        recurrent = any(isinstance(each, Mamba2Layer) for each in self.modules())
        if before is None and not recurrent:
            return
        coming = Reading(sequence, numbered(sequence.valid, 0 if cache is None else cache.counts)).entries
        if before is not None and bool((pattern.allowed(before, coming) & before.valid[..., None]).any()):
            why = f"the pattern “{pattern.name}” lets tokens that were read see some of these"
            raise Refusal("the sequence", why, "read in one go what sees each other")
        later = coming.number[:, :, None] > coming.number[..., None]
        if recurrent and bool((pattern.allowed(coming, coming) & later & coming.valid[..., None]).any()):
            why = f"the pattern “{pattern.name}” lets tokens see later ones, and layers with a recurrent state see none"
            raise Refusal("the sequence", why, "take a causal pattern, or a model of attention alone")

    def logits(self, states: Tensor) -> Tensor:
        """(…, vocabulary) from `states` (…, width), of all positions or of those that are wanted."""
        flat = states.reshape(-1, states.shape[-1])  # of three dimensions, a single token would have the whole head copied
        flat = functional.linear(flat, self.embed_tokens.weight) if self.lm_head is None else self.lm_head(flat)
        logits = flat.view(*states.shape[:-1], -1)
        cap = self.config.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap
