"""Which item of which data set each training step takes: groups by weight, inside a group every item once before any twice.

A pure function of the seed and the step's number. So the state to resume from is that number, any worker finds its share
without asking the others, and the order is the same however many there are.

MoME (arXiv 2407.12709) samples its groups with equal probability, and inside a group by size. Here both hold exactly, not on
average: in every `Mixture.cycle` steps each group has its share, and through a group's items goes one shuffle after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from math import gcd, lcm
from typing import NamedTuple

from serval.data.item import Item

_LISTED = 4096  # things that are shuffled by sorting; more are, without a list, by a cipher
_ROUNDS = 6
_LONGEST = 10_000  # steps until every group has its share


class Draw(NamedTuple):
    """An item by its data set and its number there; which group drew it, and how often that had had all its items."""

    dataset: str
    number: int
    group: str
    epoch: int


class Mixture:
    """
    Args:
        groups: for each group's name its data sets' names and sizes.
        weights: how often each group is drawn, relative to the others; equally often by default. A weight is taken for the
            decimal it is written as. For plain weights of data sets make each a group of its own.
        seed: of the order.

    Raises:
        ValueError: there is no group or item, a weight is not positive, or the weights' shares are not of at most 10,000 steps.
    """

    def __init__(
        self, groups: Mapping[str, Mapping[str, int]], weights: Mapping[str, float] | None = None, *, seed: int = 0
    ) -> None:
        if not groups:
            raise ValueError("groups: there is none")
        for name, sizes in groups.items():
            if not sizes or min(sizes.values()) < 1:
                raise ValueError(f"groups: a data set of {name} is empty, or there is none")
        weights = dict.fromkeys(groups, 1) if weights is None else weights
        if set(weights) != set(groups) or min(weights.values()) <= 0:
            raise ValueError(f"weights: one above 0 for each of {', '.join(groups)}, not {dict(weights)}")
        self._groups = {name: dict(sorted(sizes.items())) for name, sizes in sorted(groups.items())}  # however they are listed
        self._sizes = {name: sum(sizes.values()) for name, sizes in self._groups.items()}
        self._seed = seed
        exact = {name: Fraction(repr(weights[name])) for name in self._groups}
        whole = {name: each * lcm(*(other.denominator for other in exact.values())) for name, each in exact.items()}
        common = gcd(*map(int, whole.values()))
        self.shares = {name: int(each) // common for name, each in whole.items()}
        self.cycle = sum(self.shares.values())
        if self.cycle > _LONGEST:
            raise ValueError(f"weights: their shares add up to {self.cycle:,} steps, and {_LONGEST:,} are the limit")

    def __getitem__(self, step: int) -> Draw:
        """What a step takes, counted from 0; steps never end."""
        if step < 0:
            raise IndexError(f"step {step}: they are counted from 0")
        cycle, place = divmod(step, self.cycle)
        group, turn = self._schedule(cycle)[place]
        epoch, place = divmod(cycle * self.shares[group] + turn, self._sizes[group])
        chosen = shuffled(place, self._sizes[group], f"{self._seed}/{group}/{epoch}")
        return Draw(*_split(chosen, self._groups[group]), group, epoch)

    def batch(self, number: int, size: int, rank: int = 0, world: int = 1) -> list[Draw]:
        """A worker's part of a batch of ``size`` over all ``world`` workers. The parts in order are the batch, however many.

        Raises:
            ValueError: the batch cannot be parted evenly, or there is no such worker.
        """
        if size % world or not 0 <= rank < world:
            raise ValueError(f"batch: {size} items for worker {rank} of {world}")
        first = number * size + rank * size // world
        return [self[step] for step in range(first, first + size // world)]

    def passes(self, steps: int) -> dict[str, float]:
        """How often each group has gone through all its items after so many steps."""
        cycles, more = divmod(steps, self.cycle)
        drawn = {name: cycles * share for name, share in self.shares.items()}
        for group, _ in self._schedule(cycles)[:more]:
            drawn[group] += 1
        return {name: count / self._sizes[name] for name, count in drawn.items()}

    def _schedule(self, cycle: int) -> tuple[tuple[str, int], ...]:
        return _schedule(tuple(self.shares.items()), f"{self._seed}/{cycle}")


class MixedData:
    """The items that a mixture draws, by the number of the step.

    Args:
        datasets: by name, as `Dataset.indexed` gives them; the mixture's sizes are theirs.
    """

    def __init__(self, mixture: Mixture, datasets: Mapping[str, Sequence[Item]]) -> None:
        self.mixture, self._datasets = mixture, datasets

    def __getitem__(self, step: int) -> Item:
        draw = self.mixture[step]
        return self._datasets[draw.dataset][draw.number]

    def batch(self, number: int, size: int, rank: int = 0, world: int = 1) -> list[Item]:
        """See `Mixture.batch`."""
        return [self._datasets[draw.dataset][draw.number] for draw in self.mixture.batch(number, size, rank, world)]


def shuffled(place: int, size: int, key: str) -> int:
    """What stands at ``place`` of a shuffle of ``range(size)``; ``key`` names the shuffle. Nothing of a long one is kept."""
    if size <= _LISTED:
        return _shuffle(size, key)[place]
    half = ((size - 1).bit_length() + 1) // 2
    while True:  # a Feistel network shuffles a power of four; what falls outside goes through it again
        left, right = place >> half, place & ((1 << half) - 1)
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_hash(key, turn, right) & ((1 << half) - 1))
        place = left << half | right
        if place < size:
            return place


@lru_cache(maxsize=8)
def _schedule(shares: tuple[tuple[str, int], ...], key: str) -> tuple[tuple[str, int], ...]:
    """Whose turn each step of a cycle is, and which of its turns there."""
    of = dict(shares)
    turns = dict.fromkeys(of, 0)
    made = []
    for slot in _shuffle(sum(of.values()), key):
        name, _ = _split(slot, of)
        made.append((name, turns[name]))
        turns[name] += 1
    return tuple(made)


@lru_cache(maxsize=32)
def _shuffle(size: int, key: str) -> tuple[int, ...]:
    return tuple(sorted(range(size), key=lambda each: (_hash(key, 0, each), each)))


def _hash(key: str, turn: int, value: int) -> int:
    made = blake2b(f"{turn}/{value}".encode(), digest_size=8, key=blake2b(key.encode(), digest_size=32).digest())
    return int.from_bytes(made.digest(), "little")


def _split(place: int, sizes: Mapping[str, int]) -> tuple[str, int]:
    """In which stretch a place lies when they follow each other, and how far in it."""
    for name, size in sizes.items():
        if place < size:
            return name, place
        place -= size
    raise IndexError(place)
