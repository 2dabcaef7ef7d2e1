"""What a decoder remembers of the tokens it has read, so that none is read twice: keys and values, or a recurrent state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from serval.language.entries import Entries
from serval.refusal import Refusal

_FIRST = 256  # entries of room to begin with; it doubles from there up to the capacity


class RecurrentState(Protocol):
    """What a layer without keys remembers, of a size that does not grow."""

    def select(self, rows: Tensor) -> RecurrentState:
        """The states of ``rows`` (any,) int64, in that order; one may be taken several times."""
        ...


@dataclass(frozen=True)
class Kept:
    """What an `Eviction` leaves of a layer.

    Attributes:
        index: (batch, heads or 1, kept) int64, rising, of the entries that stay; -1 is padding for rows that keep fewer.
        keys, values: (batch, heads, kept, head_dim), where what goes was merged into what stays; None for as they were.
    """

    index: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None


class Eviction(Protocol):
    """A rule that holds each layer's memory to a budget. It runs after a layer has read its new tokens.

    Attributes:
        needs_attention: it asks how much attention each entry received, which costs an explicit softmax.
    """

    needs_attention: bool

    def __call__(self, layer: int, entries: Entries, keys: Tensor, values: Tensor, attention: Tensor | None) -> Kept | None:
        """What stays, or None for everything.

        Args:
            keys, values: (batch, heads, held, head_dim), keys as the cache stores them.
            attention: (batch, heads, held): what each entry received from the new tokens, summed over them and over the
                queries that share the head.
        """
        ...


@dataclass
class LayerStore:
    """One layer's keys and values, (batch, heads, room, head_dim), of which the first ``held`` are in use."""

    keys: Tensor
    values: Tensor
    held: int = 0
    entries: Entries | None = None

    def grow(self, room: int) -> None:
        """Make room for ``room`` entries."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(*old.shape[:2], room, old.shape[3])
            new[:, :, : self.held] = old[:, :, : self.held]
            setattr(self, name, new)

    def keep(self, kept: Kept) -> None:
        """What an eviction has left, packed at the front."""
        assert self.entries is not None
        heads = self.keys.shape[1]
        index = kept.index.clamp_min(0).expand(-1, heads, -1)[..., None].expand(-1, -1, -1, self.keys.shape[3])
        keys = self.keys.gather(2, index) if kept.keys is None else kept.keys
        values = self.values.gather(2, index) if kept.values is None else kept.values
        self.held = kept.index.shape[2]
        self.keys[:, :, : self.held], self.values[:, :, : self.held] = keys, values
        self.entries = self.entries.at(kept.index)


class KVCache:
    """Several conversations' keys and values, row by row. Layers may hold different tokens, and rows and heads too.

    Attributes:
        length: tokens read so far, padding included.
        capacity: entries that a layer holds at the most.
        counts: (batch,) int64, valid tokens read so far.
        renumbered: positions are the ranks of what a layer holds (StreamingLLM, Xiao et al. 2023, section 3.2), and keys are
            turned when they are read; otherwise every entry keeps the position it had, however many around it go.
        turned: keys are stored as they were turned; False where angles depend on what comes later, or on ranks.
        stores: of each layer; None where it has no keys.
        states: of the layers that have one, by number.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        capacity: int,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        eviction: Eviction | None = None,
        positions: Literal["keep", "renumber"] = "keep",
        turned: bool = True,
    ) -> None:
        """``shapes``: (heads of keys, numbers of a head) of each layer; (0, 0) where a layer has no keys."""
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.shapes, self.capacity, self.eviction = tuple(shapes), capacity, eviction
        self.renumbered = positions == "renumber"
        self.turned = turned and not self.renumbered
        self.batch, self.dtype, self.device = batch, dtype, torch.device(device)
        self.length = 0
        self.counts = torch.zeros(batch, dtype=torch.int64, device=device)
        self.furthest = torch.full((batch,), -1.0, device=device)
        room = min(_FIRST, capacity)
        self.stores = [self._store(*shape, room) if shape[0] else None for shape in self.shapes]
        self.states: dict[int, RecurrentState] = {}
        self._joined: dict[tuple[int, int], tuple[Entries, Entries, Entries]] = {}

    def _store(self, heads: int, head_dim: int, room: int) -> LayerStore:
        shape = (self.batch, heads, room, head_dim)
        empty = torch.empty(shape, dtype=self.dtype, device=self.device)
        return LayerStore(empty, torch.empty_like(empty))

    @property
    def next_position(self) -> Tensor:
        """(batch,) float32: where the next token of each row stands: one beyond the furthest so far, rounded up."""
        return self.furthest.ceil() + 1

    @property
    def room(self) -> int:
        """How many more tokens can be read before a layer is full."""
        return self.capacity - max((store.held for store in self.stores if store is not None), default=0)

    def held(self, layer: int) -> int:
        """Entries of a layer, padding included."""
        store = self.stores[layer]
        return 0 if store is None else store.held

    def entries(self, layer: int) -> Entries | None:
        """Notes on a layer's entries; None while it has none."""
        store = self.stores[layer]
        return None if store is None else store.entries

    def begin(self, position: Tensor, valid: Tensor) -> Tensor:
        """Numbers (batch, new) for tokens that are about to be read, at ``position`` (batch, new[, axes]).

        Raises:
            Refusal: some layer has no room for them. Nothing has changed then.
        """
        new = valid.shape[1]
        most = self.capacity - self.room + new
        if most > self.capacity:
            raise Refusal("the conversation", f"it is {most} tokens long, and {self.capacity} is the limit", "shorten it")
        number = numbered(valid, self.counts)
        flat = position if position.ndim == 2 else position.amax(-1)
        if new:
            self.furthest = torch.maximum(self.furthest, flat.float().masked_fill(~valid, -1.0).amax(1))
        self.counts = self.counts + valid.sum(1)
        self.length += new
        self._joined.clear()
        return number

    def write(self, layer: int, keys: Tensor, values: Tensor, entries: Entries) -> tuple[Tensor, Tensor, Entries]:
        """Keep a layer's keys and values of the newest tokens, each (batch, heads, new, head_dim).

        Returns:
            All of the layer's keys and values, each (batch, heads, held, head_dim), and what they are of.
        """
        store = self.stores[layer]
        assert store is not None
        start, end = store.held, store.held + keys.shape[2]
        if end > store.keys.shape[2]:
            store.grow(min(self.capacity, max(2 * store.keys.shape[2], end)))
        store.keys[:, :, start:end], store.values[:, :, start:end] = keys, values
        store.held, store.entries = end, self._join(store.entries, entries)
        return store.keys[:, :, :end], store.values[:, :, :end], store.entries

    def _join(self, old: Entries | None, new: Entries) -> Entries:
        """Layers that hold the same tokens share one set of notes."""
        if old is None:
            return new
        key = (id(old), id(new))
        if key not in self._joined:
            self._joined[key] = (old, new, old.then(new))
        return self._joined[key][2]

    def settle(self, layer: int, new: int, commit: Tensor | None, attention: Callable[[], Tensor]) -> None:
        """After the newest ``new`` tokens of a layer have seen and been seen: forget those not in ``commit`` (batch, new)
        bool, then what the eviction rule lets go. ``attention`` is asked only by rules that need it."""
        store = self.stores[layer]
        assert store is not None and store.entries is not None
        received = attention() if self.eviction is not None and self.eviction.needs_attention else None
        if commit is not None and not bool(commit.all()):
            stays = torch.cat((commit.new_ones(self.batch, store.held - new), commit), dim=1) & store.entries.valid.any(1)
            index = packed(stays)[:, None]
            store.keep(Kept(index))
            if received is not None:
                received = received.gather(2, index.clamp_min(0).expand(-1, received.shape[1], -1))
        if self.eviction is not None:
            held = store.keys[:, :, : store.held], store.values[:, :, : store.held]
            kept = self.eviction(layer, store.entries, *held, received)
            if kept is not None:
                store.keep(kept)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's keys and values, each (batch, heads, held, head_dim), as they are stored."""
        store = self.stores[layer]
        assert store is not None
        return store.keys[:, :, : store.held], store.values[:, :, : store.held]

    @property
    def room_bytes(self) -> int:
        """Memory that keys and values take, in use or not."""
        return sum(each.nbytes for store in self.stores if store is not None for each in (store.keys, store.values))

    def state(self, layer: int) -> Any:
        """A layer's recurrent state; None before it has read anything."""
        return self.states.get(layer)

    def keep_state(self, layer: int, state: RecurrentState) -> None:
        """From now on this is what the layer remembers."""
        self.states[layer] = state

    def select(self, rows: Tensor) -> None:
        """Keep the conversations ``rows`` (any,) int64, in that order; one may be taken several times, as beams are."""
        for store in self.stores:
            if store is not None:
                store.keys, store.values = store.keys[rows], store.values[rows]
                if store.entries is not None:
                    store.entries = self._selected(store.entries, rows)
        self._joined.clear()
        self.states = {layer: state.select(rows) for layer, state in self.states.items()}
        self.counts, self.furthest, self.batch = self.counts[rows], self.furthest[rows], len(rows)

    def _selected(self, entries: Entries, rows: Tensor) -> Entries:
        key = (id(entries), 0)  # the same for all layers that share them
        if key not in self._joined:
            self._joined[key] = (entries, entries, entries.each(lambda field: field[rows]))
        return self._joined[key][2]

    def fork(self, length: int | None = None, capacity: int | None = None) -> KVCache:
        """Another cache that has read the first ``length`` tokens of this one, all by default; nothing is shared.

        Raises:
            ValueError: these tokens were not read, or do not fit ``capacity``.
            Refusal: it is to go back, and this one has forgotten tokens or remembers by a state.
        """
        length, capacity = self.length if length is None else length, capacity or self.capacity
        whole = all(store is None or store.held == self.length for store in self.stores)
        most = length if whole else max(store.held for store in self.stores if store is not None)
        if not 0 <= length <= self.length or most > capacity:
            raise ValueError("a fork begins with tokens that were read, and holds them")
        other = KVCache(
            self.shapes,
            capacity,
            batch=self.batch,
            dtype=self.dtype,
            device=self.device,
            eviction=self.eviction,
            positions="renumber" if self.renumbered else "keep",
            turned=self.turned,
        )
        if length < self.length and (self.states or not whole):
            raise Refusal("the conversation", "part of it has been forgotten, so it cannot be taken back", "begin it anew")
        for mine, theirs in zip(self.stores, other.stores, strict=True):
            if mine is None or theirs is None or mine.entries is None or not length:
                continue
            held = length if whole else mine.held
            if held > theirs.keys.shape[2]:
                theirs.grow(held)
            theirs.keys[:, :, :held], theirs.values[:, :, :held] = mine.keys[:, :, :held], mine.values[:, :, :held]
            theirs.held, theirs.entries = held, self._cut(mine.entries, held)
        self._joined.clear()
        other.states = dict(self.states) if length else {}
        other.length = length
        first = next((store.entries for store in other.stores if store is not None and store.entries is not None), None)
        if length == self.length:
            other.counts, other.furthest = self.counts.clone(), self.furthest.clone()
        elif first is not None:
            valid, position = first.valid[:, 0], first.position[:, 0]
            flat = position if position.ndim == 2 else position.amax(-1)
            other.counts = valid.sum(1)
            other.furthest = flat.masked_fill(~valid, -1.0).amax(1)
        return other

    def _cut(self, entries: Entries, length: int) -> Entries:
        key = (id(entries), length)
        if key not in self._joined:
            self._joined[key] = (entries, entries, entries.each(lambda field: field[:, :, :length]))
        return self._joined[key][2]


def numbered(valid: Tensor, before: Tensor | int = 0) -> Tensor:
    """(batch, new) int64: how many valid tokens of its row come before each, ``before`` (batch,) included; -1 at padding."""
    start = before[:, None] if isinstance(before, Tensor) else before
    return (valid.cumsum(1) - 1 + start).masked_fill(~valid, -1)


def packed(stays: Tensor) -> Tensor:
    """(batch, most) int64: where ``stays`` (batch, length) holds, in order, with -1 behind in rows that have fewer."""
    kept = stays.sum(1, keepdim=True)
    order = torch.argsort((~stays).to(torch.uint8), dim=1, stable=True)[:, : int(kept.max())]
    return order.masked_fill(torch.arange(order.shape[1], device=stays.device)[None] >= kept, -1)
