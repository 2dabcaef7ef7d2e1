"""A real voice for the world of requests, where the part is there: the user as it is, and somebody else deeper and slower."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from serval.assistant.voice.voice import RATE as SPOKEN
from serval.assistant.voice.voice import Voice
from serval.data.worlds.requests import RATE
from serval.data.worlds.requests import Voice as Speaker

_DEEPER = 6, 5  # times as long, and as much lower


def spoken() -> Speaker:
    """For `requests.microphone`. The same words sound the same every time. Raises `PartMissing` where the voice is not here."""
    voice = Voice.open()

    @lru_cache(maxsize=2000)
    def speak(words: str, speaker: int) -> NDArray[np.float32]:
        pieces = list(voice.speak(words))
        sound = np.concatenate(pieces) if pieces else np.zeros(SPOKEN // 10, np.float32)
        deeper = resample_poly(sound, *_DEEPER) if speaker else sound
        return np.clip(resample_poly(deeper, RATE // 8000, SPOKEN // 8000), -1, 1).astype(np.float32)

    return speak
