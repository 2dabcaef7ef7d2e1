"""What the sound of sessions is made into words by, and words into sound: parts that may be missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serval.assistant.listening.activity import RATE as HEARD
from serval.assistant.listening.activity import Samples
from serval.serving.keys import Person
from serval.serving.openai.opened import EARS, VOICE, Opened
from serval.weights import PartMissing, locate

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


class SharedVoice:
    """The voice of the service, for one sentence at a time. Raises `PartMissing` where its part is not on this machine."""

    def __init__(self, models: Opened, person: Person) -> None:
        locate(VOICE, "hibari.onnx")
        self._models, self._person = models, person

    def speak(self, text: str, cancelled: Callable[[], bool]) -> Iterator[NDArray[np.int16]]:
        """See `Voice.speak`."""
        voice = self._models.voice()
        said = voice.speak(text)
        while not cancelled():
            with self._models.turn(VOICE, self._person):
                block = next(said, None)
            if block is None:
                return
            yield np.clip(np.round(block * 32767), -32768, 32767).astype(np.int16)


def shared_voice(models: Opened, person: Person) -> SharedVoice | None:
    """A voice, where there is one."""
    try:
        return SharedVoice(models, person)
    except PartMissing:
        return None
