"""Sound as it comes and goes over the socket, base64 of PCM at 24 kHz or of the telephone's; and as it is listened to: floats
at 16 kHz."""

from __future__ import annotations

import base64
import binascii
import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from serval.assistant.listening.activity import RATE as HEARD
from serval.serving.realtime import telephone
from serval.serving.realtime.limits import RATE
from serval.serving.realtime.telephone import Law

_TAPS = 97  # of the filter, at the lowest rate that both are parts of: the sound is 1 or 2 ms late
_LONGEST = 60  # seconds of the telephone's sound that are worked on at once: of PCM a message holds no more
_PASSED = 0.95  # of what the lower of both rates could have


class Incoming:
    """Sound of one stream as clients send it, in pieces of any length.

    Args:
        law: of the telephone's sound; None for PCM.
    """

    def __init__(self, law: Law | None = None) -> None:
        self.law = law
        self._resampler = Resampler(telephone.RATE, RATE)

    def read(self, text: str) -> NDArray[np.int16]:
        """Samples (n,) at 24 kHz of base64. Raises ``ValueError`` where it is none, too much, or half a sample is left over."""
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("it is no base64") from None
        if self.law is not None:
            if len(data) > _LONGEST * telephone.RATE:
                raise ValueError(f"a piece has at most {_LONGEST} seconds of sound")
            return _rounded(self._resampler.feed(telephone.expand(data, self.law)))
        if len(data) % 2:
            raise ValueError("a sample has two bytes, and there is half of one too much")
        return np.frombuffer(data, "<i2").astype(np.int16)


class Outgoing:
    """Sound of one stream as clients want it.

    Args:
        law: of the telephone's sound; None for PCM.
    """

    def __init__(self, law: Law | None = None) -> None:
        self.law = law
        self._resampler = Resampler(RATE, telephone.RATE)

    def written(self, samples: NDArray[np.int16]) -> str:
        """The next samples (n,) at 24 kHz as base64."""
        if self.law is None:
            data = samples.astype("<i2").tobytes()
        else:
            data = telephone.compress(_rounded(self._resampler.feed(samples)), self.law)
        return base64.b64encode(data).decode()


class Resampler:
    """Sound of one stream at another rate, in pieces of any length; where it was cut makes no difference.

    Args:
        rate: of the samples that come.
        wanted: of those that go.
    """

    def __init__(self, rate: int = RATE, wanted: int = HEARD) -> None:
        shared = math.gcd(rate, wanted)
        self._up, self._down = wanted // shared, rate // shared
        self._filter = _lowpass(rate * self._up, min(rate, wanted), self._up)
        self._before = np.zeros(_TAPS // self._up + 1, np.float32)
        self._phase = 0  # samples at the shared rate until the next one that goes

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """The next samples (n,) as (about n * wanted / rate,), from -1 to 1."""
        if not len(samples):
            return np.zeros(0, np.float32)
        wave = np.concatenate([self._before, samples.astype(np.float32) / 32768])
        stretched = np.zeros(len(wave) * self._up, np.float32)
        stretched[:: self._up] = wave
        smooth = np.convolve(stretched, self._filter)[: len(stretched)]
        fresh = smooth[len(self._before) * self._up :]
        taken = fresh[self._phase :: self._down]
        self._phase = (self._phase - len(fresh)) % self._down
        self._before = wave[-len(self._before) :]
        return taken.astype(np.float32)


def _rounded(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)


@cache
def _lowpass(rate: int, lower: int, up: int) -> NDArray[np.float32]:
    """Passes at ``rate`` what sound of the ``lower`` rate can have: a windowed sinc, with the gain that stretching has cost."""
    at = np.arange(_TAPS) - _TAPS // 2
    cut = _PASSED * lower / 2 / rate
    taps = 2 * cut * np.sinc(2 * cut * at) * np.blackman(_TAPS)
    return (taps / taps.sum() * up).astype(np.float32)
