"""Pooling a video over time and space, and the same over time while it still runs."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMean:
    """The mean over all frames so far: (tokens, width) at any moment of a stream of (tokens, width) frames.

    The sum is kept in double precision and frames are added one after the other, so the mean is the same, bit for bit, however
    the stream is cut into pieces, and costs one frame of memory however long it runs. The online form of Video-ChatGPT's and
    RED-VILLM's temporal pooling.
    """

    def __init__(self) -> None:
        self.count = 0
        self._total: Tensor | None = None
        self._dtype = torch.float32

    def add(self, frames: Tensor) -> None:
        """``frames`` is (frames, …), every frame of the shape of those before. Raises ``ValueError`` for another shape."""
        if self._total is None:
            self._total = torch.zeros(frames.shape[1:], dtype=torch.float64, device=frames.device)
            self._dtype = frames.dtype
        if frames.shape[1:] != self._total.shape:
            raise ValueError(f"A frame of {tuple(frames.shape[1:])} among frames of {tuple(self._total.shape)}.")
        for frame in frames.detach():
            self._total += frame
        self.count += len(frames)

    @property
    def value(self) -> Tensor:
        """The mean, as precise as the frames were. Raises ``ValueError`` before the first frame."""
        if self._total is None or not self.count:
            raise ValueError("There is no mean of no frames.")
        return (self._total / self.count).to(self._dtype)


def pool_over_time(video: Tensor) -> Tensor:
    """(…, frames, tokens, width) → (…, tokens, width): the mean of each place over all frames."""
    return video.mean(-3)


def pool_over_space(video: Tensor) -> Tensor:
    """(…, frames, tokens, width) → (…, frames, width): the mean of each frame over all places."""
    return video.mean(-2)


def pool_over_both(video: Tensor) -> Tensor:
    """(…, frames, tokens, width) → (…, tokens + frames, width): each place over time, then each frame over space.

    Video-ChatGPT (Maaz et al. 2024, section 3.1), temporal tokens first.
    """
    return torch.cat([pool_over_time(video), pool_over_space(video)], dim=-2)
