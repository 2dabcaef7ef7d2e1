"""Rotary positions (Su et al. 2021, arXiv:2104.09864), real-valued, of one or several axes, with every rescaling in use.

Heads are in Hugging Face's layout: the first half of the numbers that turn goes with the second half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Scaling = Literal["default", "linear", "dynamic", "yarn", "longrope", "llama3"]


@dataclass(frozen=True)
class Rotary:
    """How fast each pair of a head's numbers turns.

    Attributes:
        width: how many numbers of a head turn; the others stay as they are (Phi-4-mini turns three quarters).
        theta: the base of the wavelengths.
        scaling: how a context beyond the one trained on is reached: "linear" (Chen et al. 2023, arXiv:2306.15595), "dynamic"
            (NTK-aware, grows with the length), "yarn" (Peng et al. 2023, arXiv:2309.00071), "longrope" (Ding et al. 2024,
            arXiv:2402.13753), "llama3" (Llama 3.1).
        factor: how many times longer the context becomes.
        trained: tokens of the context trained on; for "dynamic", of the whole context.
        low, high: "llama3": parts of the trained context between whose wavelengths it goes from one to the other;
            "yarn": turns within the trained context between which it does (beta_slow, beta_fast).
        whole: "yarn": round the two ends of that range to whole pairs.
        amplitude: what cosine and sine are multiplied with.
        short, long: "longrope": what each pair is slowed down by, within the trained context and beyond it.
        sections: pairs that turn with each axis of the positions, in order (M-RoPE of Qwen2-VL, Wang et al. 2024); empty for
            positions of one axis.
    """

    width: int
    theta: float = 10000.0
    scaling: Scaling = "default"
    factor: float = 1.0
    trained: int = 0
    low: float = 1.0
    high: float = 32.0
    whole: bool = True
    amplitude: float = 1.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()
    sections: tuple[int, ...] = ()

    @property
    def fixed(self) -> bool:
        """A position turns by the same angle however long the context gets: what was turned need not be turned anew."""
        return self.scaling not in ("dynamic", "longrope")

    def frequencies(self, length: float, device: torch.device | str | None = None) -> Tensor:
        """(width / 2,) float32: radians that each pair turns in one step of position, in a context of ``length``."""
        exponents = torch.arange(0, self.width, 2, device=device, dtype=torch.float32) / self.width
        match self.scaling:
            case "linear":
                return self.theta**-exponents / self.factor
            case "dynamic":
                grown = self.factor * max(length, self.trained) / self.trained - (self.factor - 1)
                return (self.theta * grown ** (self.width / (self.width - 2))) ** -exponents
            case "longrope":
                slowed = self.long if length > self.trained else self.short
                return 1.0 / (torch.tensor(slowed, device=device) * self.theta**exponents)
            case "llama3":
                return self._llama3(self.theta**-exponents)
            case "yarn":
                return self._yarn(self.theta**-exponents)
        return self.theta**-exponents

    def _llama3(self, plain: Tensor) -> Tensor:
        turns = self.trained * plain / (2 * math.pi)  # within the trained context
        share = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return torch.where(share == 1, plain, (1 - share) * plain / self.factor + share * plain)

    def _yarn(self, plain: Tensor) -> Tensor:
        def pair(turns: float) -> float:
            """The pair that turns this often within the trained context."""
            return self.width * math.log(self.trained / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        first, last = pair(self.high), pair(self.low)
        if self.whole:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, self.width - 1)
        if first == last:
            last += 0.001
        slow = ((torch.arange(self.width // 2, device=plain.device) - first) / (last - first)).clamp(0, 1)
        return plain / self.factor * slow + plain * (1 - slow)

    def angles(self, position: Tensor, length: float) -> tuple[Tensor, Tensor]:
        """Cosine and sine, each (…, width) float32, for positions (…) or, with `sections`, (…, axes).

        Positions of one axis are taken for all axes. Raises ``ValueError`` for axes that are not the sections'.
        """
        position = position.float()
        frequencies = self.frequencies(length, position.device)
        if self.sections:
            if position.shape[-1] != len(self.sections):
                raise ValueError(f"Positions of {position.shape[-1]} axes for {len(self.sections)} sections.")
            turned = position.repeat_interleave(torch.tensor(self.sections, device=position.device), dim=-1) * frequencies
        else:
            turned = position[..., None] * frequencies
        both = torch.cat((turned, turned), dim=-1)
        return both.cos() * self.amplitude, both.sin() * self.amplitude


def turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """``states`` (batch, heads, length, head_dim) turned by `Rotary.angles`, (batch, heads or 1, length, width)."""
    width = cosine.shape[-1]
    cosine, sine = cosine.to(states.dtype), sine.to(states.dtype)
    turning, still = states[..., :width], states[..., width:]
    first, second = turning.chunk(2, dim=-1)
    turned = turning * cosine + torch.cat((-second, first), dim=-1) * sine
    return torch.cat((turned, still), dim=-1) if still.shape[-1] else turned
