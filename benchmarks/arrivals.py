"""A busy street for measuring: every few seconds something comes in from a side, stays a moment and leaves; times are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from serval.data.worlds.photo_world import PhotoWorld

TELL = "tell me when a person, an animal or a vehicle comes in"
PERIOD = 5.0  # seconds from one arrival to the next, on average
_WHO = (
    "people/fireman240a.png",
    "animals/mammals/dogs/dog.png",
    "vehicles/masstransit/green_korean_bus.png",
    "animals/mammals/bovines/cow.png",
    "people/fireman200b.png",
    "animals/mammals/equines/horse.png",
    "vehicles/auto/truck.png",
    "animals/mammals/elephant.png",
)


def arrivals(seconds: float, seed: int = 1, size: tuple[int, int] = (640, 360)) -> PhotoWorld:
    """A world in which half of somebody is inside the picture at each time of ``truth``, and nobody else is there."""
    from serval.data.worlds.cast import background, sprite
    from serval.data.worlds.photo_world import Actor, PhotoWorld, Truth

    random = np.random.default_rng(seed)
    width, height = size
    actors, truth = [], []
    time, number = 4.0, 0
    while time < seconds - PERIOD:
        who = sprite(_WHO[number % len(_WHO)])
        half = who.height * who.rgba.shape[1] / who.rgba.shape[0] * height / width / 2
        left, stop, y = bool(random.integers(2)), float(random.uniform(0.35, 0.65)), float(random.uniform(0.88, 0.98))
        outside, edge = (-half, 0.0) if left else (1 + half, 1.0)
        walk, stay = 1.2, 1.5
        path = ((time, outside, y), (time + walk, stop, y), (time + walk + stay, stop, y), (time + 2 * walk + stay, outside, y))
        actors.append(Actor(who, path, depth=y, mirrored=left))
        comes = time + walk * (edge - outside) / (stop - outside)
        truth.append(Truth("appears", comes, who.label, f"{who.label} comes in"))
        time += PERIOD + float(random.uniform(-0.5, 0.5))
        number += 1
    return PhotoWorld("arrivals", background("leuvenA.jpg", width, height), tuple(actors), tuple(truth), seconds, seed=seed)
