"""Batches: what a model is taught with at once, in an order that can be taken up at any number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from serval.conversation.sequence import MultimodalSequence

Batch = MultimodalSequence | Mapping[str, Any]
"""A sequence, or tensors by name."""

T = TypeVar("T")


class Batches(Protocol):
    """Batches in a fixed order.

    Attributes:
        state: number of the batch that the next ``iter`` begins with. Data that repeat are endless; ``len``, where there is
            one, is the batches of an epoch.
    """

    state: int

    def __iter__(self) -> Iterator[Batch]: ...


@runtime_checkable
class Shared(Protocol):
    """Batches of which a process may make its own share only, instead of making all of them and passing over the others'."""

    def share(self, process: int, processes: int) -> Batches:
        """Batches ``process``, ``process + processes``, …; their ``state`` counts them alone."""
        ...


class Shuffled(Generic[T]):
    """Items in memory, shuffled anew in every epoch, in batches without end; the last one of an epoch may be smaller.

    Batch n is a function of the seed and n alone.

    Args:
        collate: items to a batch.
    """

    def __init__(self, items: Sequence[T], batch: int, collate: Callable[[Sequence[T]], Batch], *, seed: int) -> None:
        if not items or batch < 1:
            raise ValueError(f"{len(items)} items in batches of {batch}: there must be one of each.")
        self.state = 0
        self._items, self._batch, self._collate, self._seed = items, batch, collate, seed
        self._first, self._step = 0, 1

    def __len__(self) -> int:
        return -(-len(self._items) // self._batch)

    def __iter__(self) -> Iterator[Batch]:
        epoch, order = -1, torch.empty(0)
        while True:
            now, within = divmod(self._first + self._step * self.state, len(self))
            if now != epoch:
                epoch, order = now, torch.randperm(len(self._items), generator=_generator(self._seed, now))
            self.state += 1
            chosen = order[within * self._batch : (within + 1) * self._batch].tolist()
            yield self._collate([self._items[each] for each in chosen])

    def share(self, process: int, processes: int) -> Shuffled[T]:
        mine = Shuffled(self._items, self._batch, self._collate, seed=self._seed)
        mine._first, mine._step = process, processes
        return mine


def dealt(batches: Batches, taken: int, process: int = 0, processes: int = 1) -> Iterator[Batch]:
    """The batches of one of several processes, which take turns, after each has taken ``taken``."""
    if processes > 1 and isinstance(batches, Shared):
        mine = batches.share(process, processes)
        mine.state = taken
        yield from mine
    else:
        batches.state = taken * processes
        for number, batch in enumerate(batches):
            if number % processes == process:
                yield batch


def moved(batch: Any, device: torch.device) -> Any:
    """``batch`` with all its tensors on ``device``; what is no tensor stays as it is."""
    if isinstance(batch, MultimodalSequence | Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple) and not hasattr(batch, "_fields"):
        return type(batch)(moved(each, device) for each in batch)
    return batch


def _generator(*numbers: int) -> torch.Generator:
    from serval.training.randomness import mixed

    return torch.Generator().manual_seed(mixed(*numbers))
