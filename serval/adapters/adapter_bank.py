"""Small bottleneck adapters beside a feed-forward layer, one or a mixture of them for each sample or token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from serval.adapters.choice import shares_of


class AdapterBank(nn.Module):
    """FFN(x) + Σₖ gₖ sₖ (Uₖ ReLU(Dₖ x)): (batch, length, width) → the same shape; the FFN frozen, U, D and s learned.

    g comes from

    - **given** ids (one for each sample or token; -1 for the bare FFN) or shares (a float for each adapter);
    - a **router** (``condition`` given): one adapter for each sample, the largest output of an MLP on a condition such as the
      instruction's embedding (MoME's MoLE, Shen et al. 2024). The choice is hard; its gradient is that of the softmax;
    - **learned gates** (``gated=True``): for each of as many tasks as adapters, and each adapter, a vector over the channels,
      looked up by ids of tasks. At first task t takes adapter t alone (LION, Chen et al. 2024: image and region level).

    One adapter that every token takes (``adapters=1``, no choice) is AdaptFormer's.

    D starts as a linear layer does, U and all biases at zero and s at one, so at first the result is the FFN's, bit for bit.

    Raises ``ValueError`` for fewer than one adapter, and for gates beside a router.
    """

    def __init__(
        self,
        feed_forward: nn.Module,
        width: int,
        *,
        adapters: int,
        hidden: int = 64,
        condition: int | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        if adapters < 1:
            raise ValueError(f"There is no bank of {adapters} adapters.")
        if gated and condition is not None:
            raise ValueError("Adapters are mixed by gates or chosen by a router, not both.")
        self.feed_forward = feed_forward.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(adapters, hidden, width))
        self.down_bias = nn.Parameter(torch.zeros(adapters, hidden))
        self.up = nn.Parameter(torch.zeros(adapters, width, hidden))
        self.up_bias = nn.Parameter(torch.zeros(adapters, width))
        self.strength = nn.Parameter(torch.ones(adapters))
        for adapter in self.down:
            nn.init.kaiming_uniform_(adapter, a=math.sqrt(5))
        self.router: nn.Module | None = None
        if condition is not None:
            self.router = nn.Sequential(nn.Linear(condition, condition), nn.GELU(), nn.Linear(condition, adapters))
        self.gates = nn.Parameter(torch.eye(adapters)[..., None].repeat(1, 1, width)) if gated else None

    def forward(self, hidden: Tensor, choice: Tensor | None = None, *, condition: Tensor | None = None) -> Tensor:
        """``choice``: ids of a shape that expands to (batch, length), or float shares with a last axis of adapters;
        ``condition``: (batch, width of the condition), or (batch, length, width) to choose for each token.

        Raises ``ValueError`` unless there is just what the bank chooses by.
        """
        shares = self._shares(choice, condition)
        change: Tensor | float = 0.0
        for adapter, taken in enumerate(self._taken(shares)):
            if taken:
                added = self._adapted(hidden, adapter)
                if shares is not None:
                    added = added * (shares[..., adapter, None] if self.gates is None else shares @ self.gates[:, adapter])
                change = change + added
        adapted: Tensor = self.feed_forward(hidden) + change
        return adapted

    def copy_adapter(self, other: AdapterBank) -> None:
        """Let every adapter here be the only one of ``other``: MoME's second stage begins as its first ended, bit for bit,
        whatever is chosen. Raises ``ValueError`` where ``other`` has several, or one of other sizes."""
        mine, theirs = self.down.shape[1:], other.down.shape
        if theirs != (1, *mine):
            raise ValueError(f"Adapters of {tuple(mine)} cannot be copies of {tuple(theirs)}: it takes one of the same sizes.")
        with torch.no_grad():
            for name in ("down", "down_bias", "up", "up_bias", "strength"):
                getattr(self, name).copy_(getattr(other, name))

    def _adapted(self, hidden: Tensor, adapter: int) -> Tensor:
        """What one adapter adds. Each is computed alone: the bits of a sum over all would depend on how many there are."""
        small = functional.relu(functional.linear(hidden, self.down[adapter], self.down_bias[adapter]))
        return functional.linear(small, self.up[adapter], self.up_bias[adapter]) * self.strength[adapter]

    def _taken(self, shares: Tensor | None) -> list[bool]:
        """Which adapters are run: those that some token takes, and all while a router or gates learn from all of them."""
        adapters = self.down.shape[0]
        if shares is None or self.gates is not None or shares.requires_grad:
            return [True] * adapters
        taken: list[bool] = shares.detach().reshape(-1, adapters).ne(0).any(0).tolist()
        return taken

    def _shares(self, choice: Tensor | None, condition: Tensor | None) -> Tensor | None:
        """(…, adapters), or of tasks where there are gates; None for all of the only one."""
        adapters = self.down.shape[0]
        if self.router is not None:
            if choice is not None or condition is None:
                raise ValueError("This bank's router chooses by a condition, and by nothing else.")
            soft = self.router(condition).softmax(-1)
            hard = functional.one_hot(soft.argmax(-1), adapters).to(soft.dtype)
            shares = hard + (soft - soft.detach())
            return shares if condition.ndim == 3 else shares[:, None]
        if condition is not None:
            raise ValueError("This bank has no router that would read a condition.")
        if self.gates is not None and choice is None:
            raise ValueError("Gates are looked up by a task: give ids or shares.")
        return shares_of(choice, adapters, self.strength.dtype)
