"""One picture of a stream, with its time."""

from __future__ import annotations

import hashlib
from functools import cached_property

import av
import numpy as np
from numpy.typing import NDArray

LUMA_SIZE = (64, 36)  # width, height of the small grey picture that the pixel gate compares


class Frame:
    """A decoded picture that is converted only as far as somebody asks.

    Attributes:
        source: name of the source it came from.
        index: running number of decoded pictures in that source, from 0.
        time: seconds on the run's clock.
    """

    def __init__(self, picture: av.VideoFrame, *, source: str, index: int, time: float, rotation: int = 0) -> None:
        self._picture, self._rotation = picture, rotation % 360
        self.source, self.index, self.time = source, index, time

    @classmethod
    def from_rgb(cls, rgb: NDArray[np.uint8], *, source: str = "", index: int = 0, time: float = 0.0) -> Frame:
        """A frame from pixels ``[height, width, 3]`` uint8."""
        frame = cls(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), source=source, index=index, time=time
        )
        frame.__dict__["rgb"] = rgb
        return frame

    @property
    def width(self) -> int:
        return self._picture.height if self._rotation in (90, 270) else self._picture.width

    @property
    def height(self) -> int:
        return self._picture.width if self._rotation in (90, 270) else self._picture.height

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """Upright pixels ``[height, width, 3]`` uint8."""
        pixels = self._picture.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(pixels, self._rotation // 90)) if self._rotation else pixels

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """The picture's brightness at 64x36, ``[36, 64]`` uint8; made by swscale straight from the decoded planes."""
        width, height = LUMA_SIZE
        return self._picture.reformat(width=width, height=height, format="gray").to_ndarray()

    @cached_property
    def sha256(self) -> str:
        """Hash of size and upright pixels: the name by which evidence refers to this picture."""
        digest = hashlib.sha256(f"{self.width}x{self.height}:".encode())
        digest.update(np.ascontiguousarray(self.rgb).data)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Frame({self.source!r}, index={self.index}, time={self.time:.3f}, {self.width}x{self.height})"
