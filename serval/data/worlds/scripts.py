"""Scripts of the photo world: things come, cross, hide, are put down and taken, or nothing happens; seeded."""

from __future__ import annotations

import numpy as np

from serval.data.worlds.cast import STREET, STREET_BACKGROUNDS, TABLE, TABLE_BACKGROUNDS, Sprite, background, hand, sign, sprite
from serval.data.worlds.photo_world import Actor, PhotoWorld, Truth

SIZE = (640, 360)
WORDS = ("TAXI", "EXIT", "OPEN", "SALE", "MARKET", "HOTEL")
QUIET = (6.0, 14.0)  # seconds between two happenings, drawn evenly


def street(seed: int, seconds: float = 120.0) -> PhotoWorld:
    """Things walk or drive in, stop, go on, cross, and pass behind a pillar; signs are put up; light and camera change."""
    rng = np.random.default_rng((seed, 1))
    width, height = SIZE
    actors: list[Actor] = []
    truth: list[Truth] = []
    shakes: list[tuple[float, float, float]] = []
    lights: list[tuple[float, float]] = [(0.0, 1.0)]
    pillar = _pillar()
    has_pillar = bool(rng.integers(2))
    if has_pillar:
        actors.append(Actor(pillar, ((-1.0, 0.5, 1.0), (seconds + 1, 0.5, 1.0)), depth=50))
    time = float(rng.uniform(5.0, 8.0))
    while time < seconds - 12.0:
        what = rng.choice(["visit", "cross", "cross", "sign", "light", "shake"], p=[0.28, 0.16, 0.14, 0.22, 0.1, 0.1])
        if what == "visit":
            time = _visit(rng, actors, truth, time)
        elif what == "cross":
            time = _cross(rng, actors, truth, time, fast=bool(rng.integers(2)))
        elif what == "sign":
            time = _sign(rng, actors, truth, time)
        elif what == "light":
            gain = float(rng.choice([0.6, 0.75, 1.3]))
            lights += [(time, 1.0), (time + 1.5, gain), (time + 6.0, gain), (time + 7.5, 1.0)]
            time += 8.0
        else:
            shakes.append((time, time + 3.0, 3.0))
            time += 3.0
        time += float(rng.uniform(*QUIET))
    picture = background(STREET_BACKGROUNDS[seed % len(STREET_BACKGROUNDS)], width, height)
    kept = tuple(sorted((each for each in truth if each.time < seconds), key=lambda each: each.time))
    return PhotoWorld(
        f"street-{seed}", picture, tuple(actors), kept, seconds, seed=seed, shakes=tuple(shakes), lights=tuple(lights)
    )


def table(seed: int, seconds: float = 90.0) -> PhotoWorld:
    """A hand reaches in from the right, puts things down and takes them away again."""
    rng = np.random.default_rng((seed, 2))
    width, height = SIZE
    actors: list[Actor] = []
    truth: list[Truth] = []
    time, names = float(rng.uniform(5.0, 7.0)), list(rng.permutation(list(TABLE)))
    while time < seconds - 14.0 and names:
        thing = sprite(str(names.pop()))
        x, y = float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.72, 0.92))
        stays = float(rng.uniform(8.0, 12.0))
        _reach(actors, thing, x, y, time, carries_in=True)
        truth.append(Truth("put", time + 1.5, thing.label, f"Someone puts a {thing.label} on the table."))
        time += 3.0 + stays
        _reach(actors, thing, x, y, time, carries_in=False)
        actors.append(Actor(thing, ((time - stays - 1.5, x, y), (time + 1.5, x, y))))
        truth.append(Truth("taken", time + 1.5, thing.label, f"Someone takes the {thing.label}."))
        time += 3.0 + float(rng.uniform(*QUIET))
    picture = background(TABLE_BACKGROUNDS[seed % len(TABLE_BACKGROUNDS)], width, height)
    return PhotoWorld(f"table-{seed}", picture, tuple(actors), tuple(truth), seconds, seed=seed)


def nothing(seed: int, seconds: float = 120.0) -> PhotoWorld:
    """A place where nothing happens: sensor noise, slow light, a trembling camera, something that stood there all along."""
    rng = np.random.default_rng((seed, 3))
    width, height = SIZE
    still = sprite(str(rng.choice(list(STREET))))
    actors = (Actor(still, ((-1.0, 0.6, 0.9), (seconds + 1, 0.6, 0.9))),) if rng.integers(2) else ()
    marks = np.arange(0.0, seconds + 20.0, 20.0)
    lights = tuple((float(mark), float(rng.uniform(0.75, 1.2))) for mark in marks)
    shakes = tuple((float(start), float(start) + 2.0, 2.0) for start in rng.uniform(5, seconds, 3))
    names = (*STREET_BACKGROUNDS, *TABLE_BACKGROUNDS)
    picture = background(names[seed % len(names)], width, height)
    return PhotoWorld(f"nothing-{seed}", picture, actors, (), seconds, seed=seed, shakes=shakes, lights=lights)


WORLDS = {"street": street, "table": table, "nothing": nothing}


def _pillar() -> Sprite:
    """A plain grey pillar that things pass behind."""
    shade = (np.linspace(90, 140, 24)[None, :, None] * np.ones((200, 1, 3))).astype(np.uint8)
    return Sprite("pillar", "", np.dstack([shade, np.full((200, 24), 255, np.uint8)]), 1.0)


def _a(label: str) -> str:
    return f"{'An' if label[0] in 'aeiou' else 'A'} {label}"


def _crossing(path: tuple[tuple[float, float, float], ...], entering: bool) -> float:
    """The moment at which half of a thing on a straight path is inside (or no longer inside) the picture."""
    (start, x0, _), (end, x1, _) = path[0], path[-1]
    outside = x0 if entering else x1
    edge = 0.0 if outside < 0.5 else 1.0
    return start + (end - start) * (edge - x0) / (x1 - x0)


def _visit(rng: np.random.Generator, actors: list[Actor], truth: list[Truth], time: float) -> float:
    """Something comes in from a side, stays a while, and leaves by a side."""
    who = sprite(str(rng.choice(list(STREET))))
    half = who.height * who.rgba.shape[1] / who.rgba.shape[0] * SIZE[1] / SIZE[0] / 2
    left_in, left_out = bool(rng.integers(2)), bool(rng.integers(2))
    y, stop = float(rng.uniform(0.88, 0.98)), float(rng.uniform(0.25, 0.75))
    walk, stay = float(rng.uniform(2.0, 3.5)), float(rng.uniform(5.0, 10.0))
    outside_in, outside_out = -half if left_in else 1 + half, -half if left_out else 1 + half
    inward = ((time, outside_in, y), (time + walk, stop, y))
    outward = ((time + walk + stay, stop, y), (time + 2 * walk + stay, outside_out, y))
    actors.append(Actor(who, (*inward, *outward), depth=y, mirrored=left_in))
    comes, goes = _crossing(inward, True), _crossing(outward, False)
    side_in, side_out = ("left" if left_in else "right"), ("left" if left_out else "right")
    truth.append(Truth("appears", comes, who.label, f"{_a(who.label)} comes in from the {side_in}."))
    truth.append(Truth("leaves", goes, who.label, f"The {who.label} leaves on the {side_out}."))
    return outward[-1][0]


def _cross(rng: np.random.Generator, actors: list[Actor], truth: list[Truth], time: float, fast: bool) -> float:
    """Something goes through the picture without stopping."""
    who = sprite(str(rng.choice(list(STREET))))
    half = who.height * who.rgba.shape[1] / who.rgba.shape[0] * SIZE[1] / SIZE[0] / 2
    rightward, y = bool(rng.integers(2)), float(rng.uniform(0.88, 0.98))
    takes = float(rng.uniform(3.0, 4.0) if fast else rng.uniform(5.0, 7.0))
    ends = (-half, 1 + half) if rightward else (1 + half, -half)
    path = ((time, ends[0], y), (time + takes, ends[1], y))
    actors.append(Actor(who, path, depth=y, mirrored=rightward))
    truth.append(Truth("appears", _crossing(path, True), who.label, f"{_a(who.label)} passes by."))
    truth.append(Truth("leaves", _crossing(path, False), who.label, f"The {who.label} is gone."))
    return time + takes


def _sign(rng: np.random.Generator, actors: list[Actor], truth: list[Truth], time: float) -> float:
    """A sign is put up and taken down."""
    word, x, y = str(rng.choice(WORDS)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.3, 0.5))
    stay = float(rng.uniform(5.0, 8.0))
    actors.append(Actor(sign(word), ((time, x, y), (time + stay, x, y)), depth=-1))
    truth.append(Truth("text", time, "text", f'A sign reads "{word}".'))
    return time + stay


def _reach(actors: list[Actor], thing: Sprite, x: float, y: float, time: float, carries_in: bool) -> None:
    """A hand comes in, is at the place 1.5 s later, and goes; with the thing in it on the way in, or on the way out."""
    away = 1.35
    arm = hand()
    grip = arm.height * arm.rgba.shape[1] / arm.rgba.shape[0] * SIZE[1] / SIZE[0] / 2 - 0.02
    hand_y = y - thing.height * 0.3 + arm.height * 0.5
    there, back = (time + 1.5, x + grip, hand_y), (time + 3.0, away + grip, hand_y)
    actors.append(Actor(arm, ((time, away + grip, hand_y), there, back), depth=10))
    if carries_in:
        actors.append(Actor(thing, ((time, away, y), (time + 1.5, x, y)), depth=5))
    else:
        actors.append(Actor(thing, ((time + 1.5, x, y), (time + 3.0, away, y)), depth=5))
