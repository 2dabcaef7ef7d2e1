"""The network of a learned gate: moments in, the logit of speaking out, causal, a moment at a time or all at once."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.assistant.gates.learned.reader import FIRED, FRAME, INSTRUCTION

Body = Literal["gru", "window"]
HIDDEN: Final = 64
_ASKED, _KERNEL, _DILATIONS = 32, 3, (1, 2, 4, 8)
_TRUST, _RARELY = 3.0, -2.0  # logits


class GateHead(nn.Module):
    """A moment's numbers, scaled and shifted by the instruction (FiLM, Perez et al. 2018, arXiv:1709.07871), then what came
    before, then one number: by how much what the untaught gate says is wrong. A new head corrects nothing, and speaks when
    that gate does.

    Args:
        body: "gru", or "window": dilated causal convolutions over the last 31 moments.
    """

    def __init__(self, body: Body = "gru", dropout: float = 0.0) -> None:
        super().__init__()
        self.moment = nn.Linear(FRAME, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.asked = nn.Linear(INSTRUCTION, _ASKED)
        self.scale, self.shift = nn.Linear(_ASKED, HIDDEN), nn.Linear(_ASKED, HIDDEN)
        self.body: Recurrent | Window = Recurrent(HIDDEN) if body == "gru" else Window(HIDDEN)
        self.speak = nn.Linear(2 * HIDDEN, 1)
        self.trust = nn.Parameter(torch.tensor(_TRUST))  # in the untaught gate
        nn.init.zeros_(self.speak.weight)
        nn.init.constant_(self.speak.bias, _RARELY)
        self.dropout = nn.Dropout(dropout)

    def decide(self, moments: Tensor, instruction: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """By how much each moment is one to speak at, as logits (batch, n), and the state after the last of them.

        Args:
            moments: (batch, n, `HIDDEN`) that somebody has made of what was seen.
            instruction: (batch, `INSTRUCTION`).
            state: of the body, see `start`.
        """
        asked = functional.relu(self.asked(instruction))[:, None]
        now = functional.relu(self.norm(moments) * (1 + self.scale(asked)) + self.shift(asked))
        past, state = self.body(now, state)
        return self.speak(self.dropout(torch.cat([now, past], -1)))[..., 0], state

    def forward(
        self, frames: Tensor, instruction: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits of speaking (batch, n) of frames (batch, n, `FRAME`), and the state after them; from the start without one."""
        moments = self.moment(self.dropout(frames))
        more, state = self.decide(moments, instruction, self.start(len(frames)) if state is None else state)
        return self.trust * frames[..., FIRED] + more, state

    def start(self, batch: int = 1) -> tuple[Tensor, ...]:
        """The state before anything was seen."""
        return self.body.start(batch, self.speak.weight)


class Recurrent(nn.Module):
    """A gated recurrent unit (Cho et al. 2014, arXiv:1406.1078)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unit = nn.GRU(width, width, batch_first=True)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        return (like.new_zeros(1, batch, self.unit.hidden_size),)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        past, last = self.unit(x, state[0])
        return past, (last,)


class Window(nn.Module):
    """Causal convolutions, each over a longer stretch (van den Oord et al. 2016, arXiv:1609.03499), added to what they read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, _KERNEL, dilation=each) for each in _DILATIONS)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        width = like.shape[-1] // 2
        return tuple(like.new_zeros(batch, width, (_KERNEL - 1) * each) for each in _DILATIONS)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, after = x.transpose(1, 2), []
        for layer, before in zip(self.layers, state, strict=True):
            known = torch.cat([before, x], -1)
            after.append(known[..., -before.shape[-1] :])
            x = x + functional.relu(layer(known))
        return x.transpose(1, 2), tuple(after)
