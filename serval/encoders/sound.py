"""Sound as towers take it: one channel, with its rate."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sound:
    """Samples ``[n]`` of floats from -1 to 1, ``rate`` of them a second. Raises ``ValueError`` for anything else."""

    samples: NDArray[np.float32]
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or not self.samples.size or self.samples.dtype.kind != "f" or self.rate < 1:
            raise ValueError(
                f"A sound is [n] floats at a rate, not {self.samples.shape} {self.samples.dtype} at {self.rate} Hz."
            )
        if not np.isfinite(self.samples).all():
            raise ValueError("A sound has samples that are no numbers.")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def at(self, rate: int) -> Sound:
        """The same sound at another rate, by a polyphase filter; itself where it has that rate."""
        if rate == self.rate:
            return self
        from scipy.signal import resample_poly

        common = gcd(rate, self.rate)
        resampled = resample_poly(self.samples.astype(np.float64), rate // common, self.rate // common)
        return Sound(resampled.astype(np.float32), rate)
