"""Batches: what a model is taught with at once, in an order that can be taken up at any number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from serval.conversation.sequence import MultimodalSequence
from serval.training.randomness import mixed

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


class Numbered:
    """Batches that are made from their numbers, so that any process makes its own from any number on.

    Args:
        make: the batch of a number from 0, without end: ``lambda number: collate(mixed.batch(number, stage.batch))``.
        epoch: how many batches are an epoch, if it is known; ``len`` says it.
    """

    def __init__(self, make: Callable[[int], Batch], epoch: int | None = None) -> None:
        self.state, self._make, self._epoch = 0, make, epoch
        self._first, self._step = 0, 1

    def __len__(self) -> int:
        if self._epoch is None:
            raise TypeError("these batches do not say how many an epoch is")
        return self._epoch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.state += 1
            yield self._make(self._first + self._step * (self.state - 1))

    def share(self, process: int, processes: int) -> Numbered:
        mine = Numbered(self._make, self._epoch)
        mine._first, mine._step = process, processes
        return mine


def shuffled(items: Sequence[T], batch: int, collate: Callable[[Sequence[T]], Batch], *, seed: int) -> Numbered:
    """Items in memory, shuffled anew in every epoch, in batches without end; the last one of an epoch may be smaller.

    Args:
        collate: items to a batch.
    """
    if not items or batch < 1:
        raise ValueError(f"{len(items)} items in batches of {batch}: there must be one of each.")
    length = -(-len(items) // batch)

    @lru_cache(maxsize=1)
    def order(epoch: int) -> list[int]:
        return torch.randperm(len(items), generator=torch.Generator().manual_seed(mixed(seed, epoch))).tolist()

    def make(number: int) -> Batch:
        epoch, within = divmod(number, length)
        return collate([items[each] for each in order(epoch)[within * batch : (within + 1) * batch]])

    return Numbered(make, length)


def shuffled_as(name: str, items: Sequence[T], batch: int, *, seed: int) -> Numbered:
    """`shuffled`, where a batch is a list of items under a name."""
    return shuffled(items, batch, lambda chosen: {name: list(chosen)}, seed=seed)


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
