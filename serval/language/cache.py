"""Keys and values of the tokens that a decoder has read, so that none is read twice."""

from __future__ import annotations

import torch
from torch import Tensor

from serval.language.config import LlamaConfig
from serval.refusal import Refusal

_FIRST = 256  # tokens of room to begin with; it doubles from there up to the capacity


class KVCache:
    """One conversation's keys and values in every layer, with the position of each token.

    Attributes:
        length: tokens read so far.
        capacity: the most it will ever hold.
        positions: (batch, length) float32, where the tokens stand; apart from ``length``, since positions may skip.
    """

    def __init__(
        self,
        config: LlamaConfig,
        capacity: int,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.length, self.capacity, self._config = 0, capacity, config
        self._shape = (config.num_hidden_layers, 2, batch, config.num_key_value_heads, config.head_dim)
        self._states = self._room(min(_FIRST, capacity), dtype, device)
        self._positions = torch.zeros(batch, capacity, device=device)

    def _room(self, tokens: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """(layers, keys and values, batch, heads, tokens, head_dim)"""
        *outer, head_dim = self._shape
        return torch.empty(*outer, tokens, head_dim, dtype=dtype, device=device)

    @property
    def positions(self) -> Tensor:
        return self._positions[:, : self.length]

    @property
    def next_position(self) -> float:
        """One beyond the furthest position so far."""
        return float(self.positions.max()) + 1 if self.length else 0.0

    def extend(self, positions: Tensor) -> None:
        """Make room for tokens at ``positions`` (batch, new); every layer then `write`\\ s theirs.

        Raises:
            Refusal: they go beyond the capacity. Nothing has changed then.
        """
        new = positions.shape[1]
        length = self.length + new
        if length > self.capacity:
            raise Refusal("the conversation", f"it is {length} tokens long, and {self.capacity} is the limit", "shorten it")
        room = self._states.shape[-2]
        if length > room:
            larger = self._room(min(self.capacity, max(2 * room, length)), self._states.dtype, self._states.device)
            larger[..., : self.length, :] = self._states[..., : self.length, :]
            self._states = larger
        self._positions[:, self.length : length] = positions
        self.length = length

    def fork(self, length: int, capacity: int) -> KVCache:
        """Another cache, of at most ``capacity`` tokens, that begins with the first ``length`` tokens of this one."""
        if not 0 <= length <= min(self.length, capacity):
            raise ValueError("a fork begins with tokens that were read, and holds them")
        states = self._states
        other = KVCache(self._config, capacity, batch=states.shape[2], dtype=states.dtype, device=states.device)
        other.extend(self.positions[:, :length])
        other._states[..., :length, :] = states[..., :length, :]
        return other

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values of the newest tokens, each (batch, heads, new, head_dim).

        Returns:
            All of the layer's keys and values, each (batch, heads, length, head_dim).
        """
        mine = self._states[layer, :, :, :, : self.length]
        new = keys.shape[2]
        mine[0, :, :, self.length - new :] = keys
        mine[1, :, :, self.length - new :] = values
        return mine[0], mine[1]

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """All of a layer's keys and values, each (batch, heads, length, head_dim)."""
        mine = self._states[layer, :, :, :, : self.length]
        return mine[0], mine[1]
