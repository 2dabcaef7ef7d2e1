"""One layer of a transformer: attention, then feed-forward, each added to what came in."""

from __future__ import annotations

from torch import Tensor, nn

from serval.language.attention import Attention
from serval.language.config import ExpertsConfig, LayerConfig, NormConfig
from serval.language.feed_forward import FeedForward, RoutedFeedForward
from serval.language.norm import RMSNorm
from serval.language.reading import Reading, through


class Layer(nn.Module):
    """Norms stand before each step (Llama), behind it (OLMo 2) or both (Gemma). Their names are Gemma's."""

    def __init__(self, width: int, config: LayerConfig, norm: NormConfig, index: int) -> None:
        super().__init__()
        before, behind = config.norms in ("before", "both"), config.norms in ("behind", "both")
        self.input_layernorm = RMSNorm(width, norm) if before else nn.Identity()
        self.self_attn = Attention(width, config.attention, norm, index)
        self.post_attention_layernorm = RMSNorm(width, norm) if behind else nn.Identity()
        self.pre_feedforward_layernorm = RMSNorm(width, norm) if before else nn.Identity()
        feed = config.feed_forward
        self.mlp = RoutedFeedForward(width, feed) if isinstance(feed, ExpertsConfig) else FeedForward(width, feed)
        self.post_feedforward_layernorm = RMSNorm(width, norm) if behind else nn.Identity()

    def forward(self, hidden: Tensor, reading: Reading) -> Tensor:
        """``hidden`` and the result are (batch, new, width)."""
        sequence = reading.sequence
        attended = self.self_attn(through(self.input_layernorm, hidden, sequence), reading)
        hidden = hidden + through(self.post_attention_layernorm, attended, sequence)
        fed = through(self.mlp, through(self.pre_feedforward_layernorm, hidden, sequence), sequence)
        return hidden + through(self.post_feedforward_layernorm, fed, sequence)
