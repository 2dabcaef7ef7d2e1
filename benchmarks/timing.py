"""Times that can be compared on a busy machine: variants in turns, medians, and processor time beside the clock's."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


@dataclass
class Samples:
    """Seconds a round: ``wall`` by the clock, ``cpu`` of all threads of the process."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def in_turns(variants: Mapping[str, Callable[[], object]], rounds: int, about: str, warm: int = 1) -> dict[str, Samples]:
    """Run every variant once a round, forwards and backwards by turns, so that no one always has the quiet moment.

    Args:
        rounds: that are counted.
        warm: rounds before, that are not.
    """
    samples = {name: Samples() for name in variants}
    for turn in steps(range(warm + rounds), about):
        order = list(variants) if turn % 2 == 0 else list(variants)[::-1]
        for name in order:
            cpu, wall = time.process_time(), time.perf_counter()
            variants[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn >= warm:
                samples[name].wall.append(wall)
                samples[name].cpu.append(cpu)
    return samples


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Median of the rounds' own ratios: what disturbed a round disturbed both."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def peak_memory() -> float:
    """MB of memory that this process held at the most. Unlike ``ru_maxrss``, it does not count what its parent held."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` % do not exceed: a value that was measured, not one between two."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def steps(items: Sequence[Item] | Iterable[Item], about: str, total: float | None = None) -> Iterator[Item]:
    """The items, with a progress bar."""
    yield from track(items, description=about, total=total, console=Console(stderr=True), transient=True)
