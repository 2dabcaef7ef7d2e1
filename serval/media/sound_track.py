"""Reading the sound of an opened file: one channel at one rate, block by block, on the clock of the pictures.

The way in is `serval.media.open_video.open_sound`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from serval.media.limits import MediaLimits

_GAP = 0.1  # seconds without sound that are filled with silence
_STEP = 16_000  # samples of silence that are given at once


class Block(NamedTuple):
    """Sound from ``time`` seconds on; the next block begins where it ends."""

    time: float
    samples: NDArray[np.float32]  # from -1 to 1


class SoundTrack:
    """A stream of sound in a file. Damaged pieces are silence.

    Args:
        origin: the stamp of the first picture, in seconds, which is the 0 of their clock.
    """

    def __init__(self, container: Any, file: BinaryIO, stream: Any, *, origin: float, rate: int, limits: MediaLimits) -> None:
        self.rate, self._origin = rate, origin
        self._container, self._file, self._stream, self._limits = container, file, stream, limits

    def blocks(self) -> Iterator[Block]:
        """All of it in order, once, from 0 seconds on."""
        resampler, channels, given = self._resampler(1), 1, 0
        for frame in self._decoded():
            time = float(frame.pts * frame.time_base) - self._origin if frame.pts is not None and frame.time_base else None
            if time is not None and time > self._limits.duration:
                return
            if time is not None and time < -_GAP:  # before the first picture
                continue
            missing = 0 if time is None else round(time * self.rate) - given
            if missing > _GAP * self.rate:
                yield from self._silence(given, missing)
                given += missing
            frame.pts = None  # so that the resampler makes up for nothing by itself
            if channels != min(2, frame.layout.nb_channels):
                channels = min(2, frame.layout.nb_channels)
                resampler = self._resampler(channels)
            try:
                made = [piece.to_ndarray().mean(0, dtype=np.float32) for piece in resampler.resample(frame)]
            except (av.FFmpegError, ValueError):  # its format changes midway
                resampler = self._resampler(channels)
                continue
            for samples in made:
                clean = np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
                yield Block(given / self.rate, clean)
                given += len(clean)
            if given > self._limits.duration * self.rate:
                return

    def close(self) -> None:
        self._container.close()
        self._file.close()

    def _resampler(self, channels: int) -> Any:
        """To one channel or two, of which the mean is taken here: FFmpeg adds them up."""
        return av.AudioResampler(format="fltp", layout="mono" if channels == 1 else "stereo", rate=self.rate)

    def _decoded(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except (av.FFmpegError, ValueError):
                continue

    def _silence(self, given: int, count: int) -> Iterator[Block]:
        for start in range(0, count, _STEP):
            yield Block((given + start) / self.rate, np.zeros(min(_STEP, count - start), np.float32))
