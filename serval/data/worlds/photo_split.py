"""The photo world as a training set and a test set of scenes that share no cut-out and no background.

Scenes are those of the scripts whose whole cast is of one side; seeds of others are passed over. So there are somewhat fewer
things in them than the scripts make on average.

There is one hand in the pinned archives, and it is of the training side: what is put down or taken is not in the test set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count as count_up
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from serval.data.worlds.cast import STREET, STREET_BACKGROUNDS, TABLE, TABLE_BACKGROUNDS, background
from serval.data.worlds.photo_world import PhotoWorld, Truth
from serval.data.worlds.scripts import WORLDS

Side = Literal["train", "test"]

_TEST = {"fireman200b", "truck", "cow", "sheep", "zebra"}
_TEST_SIGNS, _TRAIN_SIGNS = {"sign EXIT", "sign HOTEL", "sign SALE"}, {"sign MARKET", "sign OPEN", "sign TAXI"}
_SCENERY = {"pillar"}  # a drawn grey bar, no cut-out
CAST: Mapping[Side, frozenset[str]] = MappingProxyType(
    {
        "train": frozenset({Path(stamp).stem for stamp in (*STREET, *TABLE)} - _TEST | _TRAIN_SIGNS | {"hand"}),
        "test": frozenset(_TEST | _TEST_SIGNS),
    }
)
"""Names of sprites. The two firemen are two photographs of people dressed alike; every other noun is of one side only."""

PLACES: Mapping[Side, tuple[str, ...]] = MappingProxyType(
    {"train": ("leuvenA.jpg", "leuvenB.jpg", "building.jpg", *TABLE_BACKGROUNDS), "test": ("home.jpg",)}
)
"""Names of backgrounds. leuvenA and leuvenB show one street, and must not be parted."""

_KINDS: Mapping[Side, tuple[str, ...]] = MappingProxyType(
    {"train": ("street", "table", "nothing"), "test": ("street", "nothing")}
)


@dataclass(frozen=True)
class PhotoTask:
    """A scene, what a person asks of it beforehand, and what of its truth that makes worth saying, which may be nothing."""

    world: PhotoWorld
    instruction: str
    due: tuple[Truth, ...]


def scenes(side: Side, kind: str = "street", *, seconds: float = 60.0, start: int = 0) -> Iterator[PhotoWorld]:
    """Scenes of one kind ("street", "table", "nothing") and side without end, by rising seeds from ``start``.

    Raises:
        PartMissing: the photographs are not on this machine.
        ValueError: the side has no such scenes.
    """
    if kind not in _KINDS[side]:
        raise ValueError(f"kind: {kind!r}, expected one of {_KINDS[side]} for {side}")
    for seed in count_up(start):
        world = WORLDS[kind](seed, seconds)
        if place_of(world) in PLACES[side] and cast_of(world) <= CAST[side]:
            yield world


def place_of(world: PhotoWorld) -> str:
    """The name of a scene's background.

    Raises:
        ValueError: it is none of the cast's.
    """
    for name in (*STREET_BACKGROUNDS, *TABLE_BACKGROUNDS):
        if world.background is background(name, *world.size):
            return name
    raise ValueError(f"{world.name} is in a place that the cast does not know")


def cast_of(world: PhotoWorld) -> set[str]:
    """Names of the cut-outs and signs that are in a scene."""
    return {actor.sprite.name for actor in world.actors} - _SCENERY


def tasks(world: PhotoWorld, absent: Iterable[str] = ()) -> list[PhotoTask]:
    """What may be asked of a scene: everything, things of each kind that comes, goes or is moved, signs, and what is not there.

    Args:
        absent: labels to ask for as well; those that do not occur make tasks in which silence is right.
    """
    named = {"appears": "comes in", "leaves": "leaves", "put": "is put down", "taken": "is taken"}
    labels = dict.fromkeys([truth.label for truth in world.truth if truth.kind in named] + list(absent))
    made = [PhotoTask(world, "say what happens", world.truth)]
    for label in labels:
        for kind, verb in named.items():
            due = tuple(truth for truth in world.truth if (truth.kind, truth.label) == (kind, label))
            if due or (kind == "appears" and label in absent):
                made.append(PhotoTask(world, f"tell me when a {label} {verb}", due))
    made.append(PhotoTask(world, "read out signs", tuple(truth for truth in world.truth if truth.kind == "text")))
    return made


def make(side: Side, count: int, *, seconds: float = 60.0, start: int = 0) -> list[PhotoWorld]:
    """``count`` scenes of one side, kinds in turn.

    Raises:
        PartMissing: the photographs are not on this machine.
    """
    streams = [scenes(side, kind, seconds=seconds, start=start) for kind in _KINDS[side]]
    return [next(streams[each % len(streams)]) for each in range(count)]
