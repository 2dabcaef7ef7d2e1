"""Cut-outs on real backgrounds in all kinds of light, and clips in which they come and go: what teaching is tried on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.data.worlds.cast import STREET, TABLE, Sprite, background, sprite
from serval.data.worlds.photo_world import Actor, PhotoWorld
from serval.media.box import Box

SIZE = (640, 360)
_FOLDERS = ("household", "food", "hobbies", "sports", "clothes", "animals", "vehicles", "plants")
SHOWN, HELD_OUT = ("leuvenA.jpg", "building.jpg", "table"), ("home.jpg", "wall")  # places of lessons, and of tests

Pixels = NDArray[np.uint8]


def stamps(side: str, count: int) -> list[str]:
    """``count`` photographed things, half of the archive for choosing ("chosen"), the other for measuring ("measured")."""
    from serval.weights import locate

    root = locate("stamps", "")
    names = sorted(
        str(path.relative_to(root))
        for folder in _FOLDERS
        for path in (root / folder).rglob("*.png")
        if "cartoon" not in path.parts
    )
    order = np.random.default_rng(0).permutation(len(names))[:80]
    half = order[:40] if side == "chosen" else order[40:]
    return [names[place] for place in half[:count]]


def cut_out(name: str) -> Pixels:
    """Its colours and opacity [height, width, 4], without its empty border."""
    from PIL import Image

    from serval.weights import locate

    with Image.open(locate("stamps", "") / name) as opened:
        rgba = np.asarray(opened.convert("RGBA"))
    rows, columns = np.where(rgba[..., 3] > 40)
    return np.asarray(rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


def pasted(rgba: Pixels, place: str, rng: np.random.Generator) -> tuple[Pixels, Box]:
    """A picture of it somewhere, a quarter to three quarters as high, turned by up to 12°, in a third of them mirrored, at 0.6
    to 1.35 of the light and in another tint; and its box, each edge off by up to 8 %, as a detector's would be."""
    width, height = SIZE
    canvas = background(place, width, height).astype(np.float32)
    canvas = canvas[:, ::-1].copy() if rng.random() < 0.5 else canvas.copy()
    scale = min(rng.uniform(0.25, 0.75) * height / rgba.shape[0], 0.8 * width / rgba.shape[1])
    w, h = max(8, round(rgba.shape[1] * scale)), max(8, round(rgba.shape[0] * scale))
    source = np.ascontiguousarray(rgba[:, ::-1] if rng.random() < 0.3 else rgba)
    small = cv2.resize(source, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = small[..., 3:] / 255
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), rng.uniform(-12, 12), 1)
    flat = cv2.warpAffine(np.dstack([small[..., :3] * alpha, alpha]), turn, (w, h))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    region = canvas[y : y + h, x : x + w]
    region *= 1 - flat[..., 3:]
    region += flat[..., :3]
    lit = canvas * rng.uniform(0.6, 1.35) * rng.uniform(0.9, 1.1, 3) + rng.normal(0, 3, canvas.shape)
    off = rng.uniform(-0.08, 0.08, 4) * (w, h, w, h)
    edges = (x + off[0]) / width, (y + off[1]) / height, (x + w + off[2]) / width, (y + h + off[3]) / height
    left, top, right, bottom = (float(min(1.0, max(0.0, each))) for each in edges)
    return np.clip(lit, 0, 255).astype(np.uint8), Box(left, top, right, bottom)


def elsewhere(box: Box, rng: np.random.Generator) -> Box:
    """A place in a picture that hardly shares anything with ``box``."""
    for _ in range(50):
        size = rng.uniform(0.25, 0.6)
        x, y = rng.uniform(0, 1 - size * 0.5625), rng.uniform(0, 1 - size)
        found = Box(float(x), float(y), float(x + size * 0.5625), float(y + size))
        if found.iou(box) < 0.02:
            break
    return found


def cast() -> list[Sprite]:
    """The things of the photo world, without its people."""
    return [sprite(stamp) for stamp in (*STREET, *TABLE) if not stamp.startswith("people")]


def lesson_picture(thing: Sprite, number: int) -> Pixels:
    """A photograph of it as a person would take one: large, near the middle."""
    rng = np.random.default_rng((number, *thing.name.encode()))
    width, height = SIZE
    wide = thing.rgba.shape[1] / thing.rgba.shape[0] * height / width
    tall = min(0.75, 0.7 / wide)
    x, y = float(rng.uniform(0.45, 0.55)), float(rng.uniform(0.86, 0.95))
    actor = Actor(thing, ((0.0, x, y), (9.0, x, y)), scale=tall / thing.height, mirrored=bool(rng.integers(2)))
    place = background(SHOWN[number % len(SHOWN)], width, height)
    light = ((0.0, float(rng.uniform(0.7, 1.25))),)
    return PhotoWorld("lesson", place, (actor,), (), 1.0, seed=number, lights=light).picture(0.5)


def arrival(thing: Sprite, place: str, seed: int) -> PhotoWorld:
    """It comes in from the left after 2.6 s and stays."""
    rng = np.random.default_rng((seed, *thing.name.encode()))
    x, y = float(rng.uniform(0.4, 0.65)), float(rng.uniform(0.8, 0.95))
    wide = thing.rgba.shape[1] / thing.rgba.shape[0] * SIZE[1] / SIZE[0]
    tall = min(float(rng.uniform(0.35, 0.6)), 0.6 / wide)
    path = ((2.6, -0.3, y), (3.6, x, y), (9.0, x, y))
    light = ((0.0, float(rng.uniform(0.7, 1.3))),)
    return PhotoWorld(thing.name, background(place, *SIZE), (Actor(thing, path, scale=tall / thing.height),), (), 6.0,
                      seed=seed, lights=light)  # fmt: skip


def busy(seed: int, seconds: float = 60.0) -> PhotoWorld:
    """Every two seconds or so something comes in by a side, stands for a while and leaves by a side."""
    rng = np.random.default_rng((seed, 11))
    things = [sprite(stamp) for stamp in STREET]
    place = ("leuvenA.jpg", "building.jpg", "home.jpg", "leuvenB.jpg")[seed % 4]
    actors, time, lane = [], 3.0, 0
    while time < seconds - 7:
        thing, lane = things[int(rng.integers(len(things)))], (lane + 1) % 3
        x, y = 0.2 + 0.3 * lane + float(rng.uniform(-0.05, 0.05)), float(rng.uniform(0.8, 0.98))
        comes, goes = (-0.3 if rng.integers(2) else 1.3 for _ in range(2))
        stays = float(rng.uniform(1.5, 3.5))
        path = ((time, comes, y), (time + 1.0, x, y), (time + 1.0 + stays, x, y), (time + 2.0 + stays, goes, y))
        scale = float(rng.uniform(0.5, 1.1))
        actors.append(Actor(thing, path, depth=y, scale=scale, mirrored=bool(rng.integers(2))))
        time += float(rng.uniform(1.6, 3.0))
    return PhotoWorld(f"busy{seed}", background(place, *SIZE), tuple(actors), (), seconds, seed=seed)


def folder_of(name: str) -> str:
    """Two things of one folder look more alike than others."""
    return str(Path(name).parent)
