"""What the sound of sessions is made into words by, and words into sound: parts that may be missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serval.assistant.listening.activity import RATE as HEARD
from serval.assistant.listening.activity import Samples
from serval.serving.keys import Person
from serval.serving.openai.opened import EARS, Opened

_AT_ONCE = 30 * HEARD  # samples that the recogniser hears at a time


class Ears(Protocol):
    """Words of sound (n,) at 16 kHz. Raises `PartMissing` where there is nothing that recognises them."""

    def words(self, samples: Samples, cancelled: Callable[[], bool]) -> str: ...


class Voice(Protocol):
    """Gives sentences a voice."""

    def speak(self, text: str, cancelled: Callable[[], bool]) -> Iterator[NDArray[np.int16]]:
        """Blocks of sound (n,) at 24 kHz, as they are made; no more of them once ``cancelled``."""
        ...


class SharedEars:
    """The recogniser of the service, for one utterance at a time."""

    def __init__(self, models: Opened, person: Person) -> None:
        self._models, self._person = models, person

    def words(self, samples: Samples, cancelled: Callable[[], bool]) -> str:
        """See `Ears`. Longer sound is heard half a minute at a time."""
        ears, said = self._models.ears(), list[str]()
        for at in range(0, len(samples), _AT_ONCE):
            piece = samples[at : at + _AT_ONCE]
            if len(piece) < HEARD // 10:
                break
            with self._models.turn(EARS, self._person):
                if cancelled():
                    break
                said.append(ears.words(piece, cancelled))
        return " ".join(each for each in said if each)
