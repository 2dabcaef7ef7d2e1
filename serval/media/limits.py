"""How much untrusted media may ask of this machine. Every number is checked on headers, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from serval.refusal import Refusal


@dataclass(frozen=True)
class MediaLimits:
    """Caps on what one input may be. The defaults fit any camera and any phone, and keep one picture below 75 MB.

    Attributes:
        pixels: width times height of one picture.
        side: the longer side of one picture, in pixels.
        aspect: longer side over shorter side. A single pixel, or a row of a few, is still a picture.
        bytes: size of a video file.
        duration: seconds of video in a file.
        frames: pictures in a file, counted while reading where the header does not say.
        image_bytes: size of one image file.
        images: image files in a directory.
    """

    pixels: int = 25_000_000
    side: int = 16_384
    aspect: float = 100.0
    bytes: int = 64 * 2**30
    duration: float = 7 * 24 * 3600.0
    frames: int = 20_000_000
    image_bytes: int = 64 * 2**20
    images: int = 100_000

    def check_size(self, what: str, width: int, height: int) -> None:
        """Refuse a picture of ``width`` by ``height`` pixels that is empty or beyond the caps."""
        if width <= 0 or height <= 0:
            raise Refusal(what, f"its picture has no size ({width}x{height})", "give a file with a picture in it")
        if max(width, height) > self.side:
            raise Refusal(what, f"its picture is {width}x{height}, and a side may have {self.side} pixels", "scale it down")
        if width * height > self.pixels:
            limit = f"{self.pixels / 1e6:g} million"
            raise Refusal(what, f"its picture is {width}x{height}, and {limit} pixels are the limit", "scale it down")
        if max(width, height) > self.aspect * min(width, height):
            raise Refusal(what, f"its picture is {width}x{height}, beyond an aspect of {self.aspect:g} to 1", "crop it")

    def check_bytes(self, what: str, size: int, limit: int | None = None) -> None:
        """Refuse ``size`` bytes above ``limit`` (by default the limit for video files), and nothing at all."""
        limit = self.bytes if limit is None else limit
        if size == 0:
            raise Refusal(what, "the file is empty", "record or copy it again")
        if size > limit:
            raise Refusal(what, f"it has {size:,} bytes, and {limit:,} are the limit", "give a shorter or smaller one")
