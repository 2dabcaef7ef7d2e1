"""Boxes, labels and captions drawn into a picture.

Words come from cameras and models, so they are only ever pixels here: what cannot be seen is left out, what is too long is cut.
All functions draw in place on RGB pixels ``[height, width, 3]`` uint8, contiguous, of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from serval.media.box import Box

Colour = tuple[int, int, int]  # red, green, blue; 0 to 255

WHITE: Colour = (255, 255, 255)
INK: Colour = (24, 20, 16)
LONGEST = 600  # letters of a text that are looked at
CAPTIONS_SHARE = 0.45  # of the picture's height that captions may cover
_WEIGHT = 400  # of the letters: regular


class Marked(NamedTuple):
    """A box to draw, with the word for what is in it."""

    box: Box
    label: str
    colour: Colour


def draw_boxes(picture: NDArray[np.uint8], boxes: Sequence[Marked]) -> None:
    """A frame around each box, then every label on a plate above its box, or inside where there is no room above."""
    height, width = picture.shape[:2]
    thickness = max(2, round(min(width, height) / 300))
    for box, _, colour in boxes:
        left, top, right, bottom = box.pixels(width, height)
        corners = (left, top), (right - 1, bottom - 1)
        cv2.rectangle(picture, *corners, INK, thickness + 2, cv2.LINE_8)  # a dark rim shows on bright pictures
        cv2.rectangle(picture, *corners, colour, thickness, cv2.LINE_8)
    size = letter_height(picture, 0.03)
    pad = max(2, size // 4)
    for box, label, colour in boxes:
        if text := _cut(_visible(label), width, size):
            left, top, _, _ = box.pixels(width, height)
            plate_width, plate_height = text_width(text, size) + 2 * pad, size + pad
            above = top - plate_height
            x = max(0, min(left - thickness // 2, width - plate_width))
            y = above if above >= 0 else min(top, height - plate_height)
            cv2.rectangle(picture, (x, y), (x + plate_width - 1, y + plate_height - 1), colour, cv2.FILLED)
            _write(picture, text, x + pad, y + size - size // 12, size, INK)


def draw_captions(picture: NDArray[np.uint8], texts: Sequence[str]) -> None:
    """What is being said, the oldest first, word-wrapped in a dark bar along the bottom.

    When there is too much for the bar the oldest lines go; a single text that is too long is cut.
    """
    height, width = picture.shape[:2]
    size = letter_height(picture, 0.05)
    pad, pitch = max(3, size // 2), round(size * 1.32)
    room = max(1, int((height * CAPTIONS_SHARE - pad) / pitch))
    paragraphs = [wrap(_visible(text), max(1, round(width * 0.94) - 2 * pad), size) for text in texts]
    lines: list[str] = []
    for paragraph in reversed(paragraphs):
        if lines and len(lines) + len(paragraph) > room:
            break
        lines[:0] = paragraph
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1].rstrip(" .,;") + "…"]
    if not lines:
        return
    top = max(0, height - pitch * len(lines) - pad)
    _darken(picture[top:])
    for number, line in enumerate(lines):
        x = (width - text_width(line, size)) // 2
        _write(picture, line, max(0, x), top + pad // 2 + number * pitch + size, size, WHITE)


def draw_note(picture: NDArray[np.uint8], text: str) -> None:
    """A small remark in the top left corner, such as the time."""
    size = letter_height(picture, 0.03)
    if text := _cut(_visible(text), picture.shape[1], size):
        pad = max(2, size // 3)
        _darken(picture[: size + 2 * pad, : text_width(text, size) + 2 * pad])
        _write(picture, text, pad, pad + size - size // 12, size, WHITE)


def letter_height(picture: NDArray[np.uint8], share: float) -> int:
    """Pixels for letters that take ``share`` of the picture's shorter side, never too few to be read."""
    return max(12, round(min(picture.shape[:2]) * share))


@lru_cache(maxsize=4096)
def text_width(text: str, size: int) -> int:
    """Pixels that ``text`` is wide at letter height ``size``."""
    left, _, width, _ = cv2.getTextSize((1, 1), text, (0, 0), _font(), size, _WEIGHT)
    return int(left + width)


@lru_cache(maxsize=256)
def wrap(text: str, width: int, size: int) -> tuple[str, ...]:
    """``text`` broken between words into lines of at most ``width`` pixels; a word wider than a line is broken inside."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if text_width(longer, size) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while len(word) > 1 and text_width(word, size) > width:
            fitting = _fitting(word, width, size)
            lines.append(word[:fitting])
            word = word[fitting:]
        line = word
    return (*lines, line) if line else tuple(lines)


def _fitting(text: str, width: int, size: int) -> int:
    """How many letters of ``text`` fit, at least one; found by halving."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(text[:middle], size) <= width else (low, middle - 1)
    return low


def _cut(text: str, width: int, size: int) -> str:
    """The text on at most half the picture's width."""
    room = max(width // 2, 8 * size)
    return text if text_width(text, size) <= room else text[: _fitting(text, room, size)].rstrip() + "…"


def _visible(text: str) -> str:
    """Without whatever turns, hides or breaks text, its spaces single."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:LONGEST]).split())


def _write(picture: NDArray[np.uint8], text: str, x: int, baseline: int, size: int, colour: Colour) -> None:
    cv2.putText(picture, text, (x, baseline), colour, _font(), size, _WEIGHT)


def _darken(pixels: NDArray[np.uint8]) -> None:
    np.right_shift(pixels, 2, out=pixels)  # a quarter of its brightness: white letters stand out on anything


@cache
def _font() -> cv2.FontFace:
    """The font that OpenCV brings: Latin, Greek, Cyrillic, Hebrew, Arabic, Chinese and Japanese."""
    return cv2.FontFace("sans")
