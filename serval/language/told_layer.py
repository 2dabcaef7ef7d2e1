"""A decoder's layer whose feed-forward part is told features of the reading: an instruction, a task."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from serval.language.layer import Layer
from serval.language.reading import Reading, through


class ToldLayer(nn.Module):
    """The layer, with its feed-forward called ``mlp(hidden, **{argument: reading.features[name]})``.

    So a bank of adapters in a layer's ``mlp`` chooses by what the whole decoder is given with each call,
    ``decoder(tokens, cache, features={"instruction": …})``: MoME's mixture of language experts by an instruction's embedding
    (``{"condition": "instruction"}``), LION's gates by a task (``{"choice": "task"}``). What was read under another instruction
    keeps the keys that it had: give the same features with every call of a conversation, or read it anew.

    Args:
        layer: of a `Decoder`, its ``mlp`` in place already.
        tells: from the argument's name to that of the feature.
    """

    def __init__(self, layer: Layer, tells: Mapping[str, str]) -> None:
        super().__init__()
        self.layer, self.tells = layer, dict(tells)

    def forward(self, hidden: Tensor, reading: Reading) -> Tensor:
        """``hidden`` and the result are (batch, new, width). Raises ``ValueError`` where the reading lacks a feature."""
        layer, sequence = self.layer, reading.sequence
        if missing := [name for name in self.tells.values() if name not in reading.features]:
            raise ValueError(f"This layer is told {', '.join(missing)}: give features of that name with every call.")
        told = {argument: reading.features[name] for argument, name in self.tells.items()}
        attended = layer.self_attn(through(layer.input_layernorm, hidden, sequence), reading)
        hidden = hidden + through(layer.post_attention_layernorm, attended, sequence)
        fed = layer.mlp(through(layer.pre_feedforward_layernorm, hidden, sequence), **told)
        return hidden + through(layer.post_feedforward_layernorm, fed, sequence)
