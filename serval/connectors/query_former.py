"""The Q-Former of BLIP-2 and InstructBLIP: learned queries that read a picture inside a BERT, and maybe an instruction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PostNormAttention(nn.Module):
    """norm(x + out(attention of x to the source)): BERT's block (Devlin et al. 2019), the norm behind the sum."""

    def __init__(self, width: int, source: int, heads: int, *, eps: float = 1e-12, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"A width of {width} does not divide into {heads} heads.")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source, width)
        self.value = nn.Linear(source, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, length, width) by (batch, keys, width of the source); ``mask`` (batch or 1, length or 1, keys) bool."""
        asked, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(states), self.key(source), self.value(source))
        )
        dropped = self.dropout.p if self.training else 0.0
        mask = None if mask is None else mask[:, None]
        found = functional.scaled_dot_product_attention(asked, keys, values, mask, dropped)
        return self.norm(states + self.dropout(self.out(found.transpose(1, 2).flatten(-2))))


class PostNormFeedForward(nn.Module):
    """norm(x + down(GELU(up x))), BERT's other block."""

    def __init__(self, width: int, hidden: int, *, eps: float = 1e-12, dropout: float = 0.0) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        return self.norm(states + self.dropout(self.down(functional.gelu(self.up(states)))))


class QFormerLayer(nn.Module):
    """Queries and text attend to each other, queries alone read the source (if this layer does), and each sort has an MLP."""

    def __init__(
        self, width: int, source: int | None, heads: int, hidden: int, *, text: bool, eps: float, dropout: float
    ) -> None:
        super().__init__()
        self.self_attention = PostNormAttention(width, width, heads, eps=eps, dropout=dropout)
        self.cross_attention = None if source is None else PostNormAttention(width, source, heads, eps=eps, dropout=dropout)
        self.feed = PostNormFeedForward(width, hidden, eps=eps, dropout=dropout)
        self.text_feed = PostNormFeedForward(width, hidden, eps=eps, dropout=dropout) if text else None

    def forward(self, states: Tensor, source: Tensor, queries: int, mask: Tensor | None, among: Tensor | None) -> Tensor:
        """``states`` (batch, queries + text, width); ``mask`` is over the source's keys, ``among`` over the states."""
        states = self.self_attention(states, states, among)
        asking, text = states[:, :queries], states[:, queries:]
        if self.cross_attention is not None:
            asking = self.cross_attention(asking, source, mask)
        asking = self.feed(asking)
        return asking if self.text_feed is None else torch.cat([asking, self.text_feed(text)], dim=1)


class QFormer(nn.Module):
    """A source (batch, keys, source width) → (batch, queries, width), maybe in the light of a text.

    BLIP-2 (Li et al. 2023, section 3.1): BERT-base with ``queries`` learned vectors that read the source in every second layer
    (``cross_every``). With a ``vocabulary`` the words of an instruction stand beside the queries (InstructBLIP, Dai et al.
    2023, section 2.3): both attend to each other, and only the queries come out. Norms stand behind each sum, and each sort of
    token has its own MLP: where that is not asked for, ``QueryReader`` is the plainer choice.

    Used by BLIP-2's heirs among the systems: MMICL, BuboGPT, SPHINX, PILL, LION (32 queries beside its aggregator), Uni-MoE's
    audio (50 queries); Video-LLaMA's and FAVOR's are ``layers=2, cross_every=1``, NoteLLM-2's ``layers=6``.

    Raises ``ValueError`` where ``heads`` does not divide ``width``.
    """

    def __init__(
        self,
        *,
        source: int,
        queries: int = 32,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        cross_every: int = 2,
        vocabulary: int | None = None,
        positions: int = 512,
        eps: float = 1e-12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        text = vocabulary is not None
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.words = None if vocabulary is None else nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width) if text else None
        self.norm = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            QFormerLayer(width, None if index % cross_every else source, heads, hidden, text=text, eps=eps, dropout=dropout)
            for index in range(layers)
        )
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self, source: Tensor, *, mask: Tensor | None = None, text: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """``mask`` (batch or 1, queries or 1, keys) bool says which keys a query may read; ``text`` is ids (batch, words) and
        ``valid`` (batch, words) bool is False at their padding.

        Raises ``ValueError`` for a text where there is no vocabulary, or one longer than there are positions.
        """
        states = self.queries.expand(source.shape[0], -1, -1)
        count, among = states.shape[1], None
        if text is not None:
            if self.words is None or self.positions is None:
                raise ValueError("This Q-Former has no vocabulary: it reads no text.")
            if text.shape[1] > self.positions.num_embeddings:
                raise ValueError(f"A text of {text.shape[1]} words for {self.positions.num_embeddings} positions.")
            words = self.words(text) + self.positions(torch.arange(text.shape[1], device=text.device))
            states = torch.cat([states, words], dim=1)
            if valid is not None:
                among = torch.cat([valid.new_ones(len(valid), count), valid], dim=1)[:, None]
        states = self.dropout(self.norm(states))
        for layer in self.layers:
            states = layer(states, source, count, mask, among)
        return states[:, :count]
