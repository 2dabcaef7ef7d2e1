"""The cast of the photo world: real cut-outs, a real hand and real backgrounds, all from pinned archives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from serval.weights import locate

# stamp -> (COCO label, height as a fraction of the picture's)
STREET = {
    "people/fireman240a.png": ("person", 0.5),
    "people/fireman200b.png": ("person", 0.5),
    "vehicles/auto/beetle.png": ("car", 0.25),
    "vehicles/auto/truck.png": ("truck", 0.28),
    "vehicles/masstransit/green_korean_bus.png": ("bus", 0.4),
    "animals/mammals/dogs/dog.png": ("dog", 0.35),
    "animals/mammals/equines/horse.png": ("horse", 0.4),
    "animals/mammals/bovines/cow.png": ("cow", 0.38),
    "animals/mammals/bovines/sheep.png": ("sheep", 0.32),
    "animals/mammals/elephant.png": ("elephant", 0.5),
    "animals/mammals/equines/zebra.png": ("zebra", 0.42),
}
TABLE = {
    "household/dishes/mug.png": ("cup", 0.28),
    "food/fruit/orange.png": ("orange", 0.2),
    "food/fruit/apple_red.png": ("apple", 0.2),
    "food/fruit/banana.png": ("banana", 0.26),
    "food/vegetables/broccoli.png": ("broccoli", 0.28),
    "animals/mammals/bears/toys/edward_bear.png": ("teddy bear", 0.38),
}
STREET_BACKGROUNDS = ("leuvenA.jpg", "building.jpg", "home.jpg", "leuvenB.jpg")
TABLE_BACKGROUNDS = ("table", "wall")


@dataclass(frozen=True)
class Sprite:
    """A cut-out: ``rgba`` [height, width, 4] uint8, what it is, and how tall it stands in the picture (fraction)."""

    name: str
    label: str
    rgba: NDArray[np.uint8]
    height: float


def _trim(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut away the empty border, so that the box of the picture is the box of the thing."""
    rows, columns = np.where(rgba[..., 3] > 40)
    return rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@cache
def sprite(stamp: str) -> Sprite:
    """A stamp of `STREET` or `TABLE` by its path."""
    label, height = {**STREET, **TABLE}[stamp]
    with Image.open(locate("stamps", "") / stamp) as picture:
        return Sprite(Path(stamp).stem, label, _trim(np.asarray(picture.convert("RGBA"))), height)


@cache
def sign(word: str) -> Sprite:
    """A street sign that reads ``word``: dark letters on a white plate."""
    font = ImageFont.load_default(size=72)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(word))
    picture = Image.new("RGBA", (right - left + 60, bottom - top + 50), (245, 245, 240, 255))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((4, 4, picture.width - 5, picture.height - 5), outline=(30, 30, 90, 255), width=5)
    draw.text((30 - left, 25 - top), word, font=font, fill=(20, 20, 60, 255))
    return Sprite(f"sign {word}", "text", np.asarray(picture), 0.16)


@cache
def hand() -> Sprite:
    """A forearm reaching in from the right, cut by its skin colour out of a real clip of a hand that holds a cup."""
    with av.open(str(locate("opencv-doc", "cup.mp4"))) as clip:
        picture = next(frame for frame in clip.decode(video=0) if frame.time >= 3.0).to_ndarray(format="rgb24")
    luma, red, blue = (cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[..., i].astype(int) for i in range(3))
    skin = ((red > 142) & (red < 185) & (blue > 80) & (blue < 128) & (luma > 50)).astype(np.uint8)
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts, sizes, _ = cv2.connectedComponentsWithStats(skin)
    arm = (parts == 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    arm = cv2.morphologyEx(arm, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    alpha = cv2.GaussianBlur(arm * 255, (5, 5), 0)
    return Sprite("hand", "hand", _trim(np.dstack([picture, alpha]).astype(np.uint8)), 0.38)


@cache
def background(name: str, width: int, height: int) -> NDArray[np.uint8]:
    """A real place ``[height, width, 3]``: a photo, or "table"/"wall" from the empty part of a real clip."""
    if name == "wall":
        with av.open(str(locate("opencv-doc", "cup.mp4"))) as clip:
            picture = next(clip.decode(video=0)).to_ndarray(format="rgb24")[:, :290]
    elif name == "table":
        with av.open(str(locate("opencv-doc", "box.mp4"))) as clip:
            picture = next(clip.decode(video=0)).to_ndarray(format="rgb24")[230:, 60:600]
    else:
        with Image.open(locate("opencv-doc", name)) as opened:
            picture = np.asarray(opened.convert("RGB"))
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])
