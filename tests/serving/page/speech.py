"""A voice for the microphone: somebody reads the name of a picture, from the optional part with photographs."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from serval.weights import PartMissing, locate

RATE = 16_000


def speech() -> NDArray[np.float32] | None:
    """A few words and a second of quiet, ``[samples]`` at `RATE`; None without the part."""
    try:
        voices = sorted(locate("stamps").rglob("*_desc.ogg"))
    except PartMissing:
        return None
    if not voices:
        return None
    with av.open(str(voices[0])) as file:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        words = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([*words, np.zeros(RATE, np.float32)])
