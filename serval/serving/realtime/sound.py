"""Sound as it comes over the socket: base64 of PCM at 24 kHz; and as it is listened to: floats at 16 kHz."""

from __future__ import annotations

import base64
import binascii
from functools import cache

import numpy as np
from numpy.typing import NDArray

from serval.assistant.listening.activity import RATE as HEARD
from serval.serving.realtime.limits import RATE

UP, DOWN = 2, 3  # 24 kHz to 16 kHz
_TAPS = 97  # of the filter, at 48 kHz: the sound is 1 ms late

assert RATE * UP == HEARD * DOWN


def pcm_of(text: str) -> NDArray[np.int16]:
    """Samples (n,) of base64. Raises ``ValueError`` where it is none, or half a sample is left over."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is no base64") from None
    if len(data) % 2:
        raise ValueError("a sample has two bytes, and there is half of one too much")
    return np.frombuffer(data, "<i2").astype(np.int16)


def base64_of(samples: NDArray[np.int16]) -> str:
    """Samples (n,) as base64 of PCM."""
    return base64.b64encode(samples.astype("<i2").tobytes()).decode()


class Resampler:
    """Sound of one stream from 24 kHz to 16 kHz, in pieces of any length; where it was cut makes no difference."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """What comes next is the beginning."""
        self._before = np.zeros(_TAPS // UP + 1, np.float32)
        self._phase = 0  # samples at 48 kHz until the next one of 16 kHz

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """The next samples (n,) at 24 kHz as (about 2n/3,) at 16 kHz, from -1 to 1."""
        if not len(samples):
            return np.zeros(0, np.float32)
        wave = np.concatenate([self._before, samples.astype(np.float32) / 32768])
        stretched = np.zeros(len(wave) * UP, np.float32)
        stretched[::UP] = wave
        smooth = np.convolve(stretched, _lowpass())[: len(stretched)]
        fresh = smooth[len(self._before) * UP :]
        taken = fresh[self._phase :: DOWN]
        self._phase = (self._phase - len(fresh)) % DOWN
        self._before = wave[-len(self._before) :]
        return taken.astype(np.float32)


@cache
def _lowpass() -> NDArray[np.float32]:
    """Passes what is below 7.2 kHz of 48 kHz: a windowed sinc, with the gain that stretching has cost."""
    at = np.arange(_TAPS) - _TAPS // 2
    cut = 7_600 / (RATE * UP)
    taps = 2 * cut * np.sinc(2 * cut * at) * np.blackman(_TAPS)
    return (taps / taps.sum() * UP).astype(np.float32)
