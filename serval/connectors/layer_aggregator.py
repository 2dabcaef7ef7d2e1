"""What lies in a tower's earlier layers, read back into its last one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from serval.connectors.query_former import PostNormAttention, PostNormFeedForward, QFormerLayer


class LayerAggregator(nn.Module):
    """Taps of a tower, earliest first, (batch, tokens, width) each → (batch, tokens, width_out).

    X₀ is the last tap; Xₖ = layerₖ(Xₖ₋₁; cross-attention to the k-th tap before it); the result is MLP(norm(X)). Layers are
    BERT's, both ways, norms behind. LION's vision aggregator (Chen et al. 2024, arXiv:2311.11860), for where things are: it
    taps blocks 18, 28 and 38 of EVA's ViT-G, counted from 0; for a `Tower` these are the depths 19, 29 and 39.

    Everything that a layer adds starts at zero. As norms stand behind, a layer then is norm(norm(norm(x))): no tap but the last
    changes anything, and the last one does not come through as it was.

    Raises ``ValueError`` for fewer than two depths, and where ``heads`` does not divide ``width``.
    """

    def __init__(
        self, width: int, width_out: int, *, depths: int = 3, heads: int = 16, hidden: int = 3072, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if depths < 2:
            raise ValueError(f"There is nothing to gather from {depths} depth.")
        self.layers = nn.ModuleList(
            QFormerLayer(width, width, heads, hidden, text=False, eps=1e-12, dropout=dropout) for _ in range(depths - 1)
        )
        for name, parameter in self.layers.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        for part in self.layers.modules():
            if isinstance(part, (PostNormAttention, PostNormFeedForward)):
                nn.init.zeros_((part.out if isinstance(part, PostNormAttention) else part.down).weight)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width_out))

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Raises ``ValueError`` for another number of taps than there are depths."""
        projected: Tensor = self.project(self.norm(self.gathered(taps)))
        return projected

    def gathered(self, taps: Sequence[Tensor]) -> Tensor:
        """(batch, tokens, width), before it is normed and projected."""
        *earlier, states = taps
        for layer, source in zip(self.layers, reversed(earlier), strict=True):
            states = layer(states, source, states.shape[1], None, None)
        return states
