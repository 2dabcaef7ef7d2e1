"""A voice: English text to speech."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from serval.assistant.voice.pronunciation import Pronunciation
from serval.assistant.voice.waveform import RATE, Numbers, waveform
from serval.encoders.onnx_session import open_session
from serval.refusal import Refusal

__all__ = ["LONGEST", "RATE", "Voice"]

LONGEST: Final = 4096  # characters that are said at once
_PHONEMES: Final = 400  # that the network is given at once
_SENTENCE: Final = re.compile(r"(?<=[.!?…])[\"”’)\]]*\s+(?=[^a-z\s])|\n+")
_BREATH: Final = re.compile(r"(?<=[,;:—])\s|\s")
_TITLE: Final = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|[A-Z])\.$")  # what ends in a full stop that ends no sentence


class Voice:
    """Hibari, a small network distilled from Kokoro-82M: one American voice, 24 kHz, about seventy times as fast as it speaks.

    Attributes:
        models: the part that it is made of, for the record.
    """

    def __init__(self, network: Path, alphabet: Path, pronunciation: Pronunciation, model_id: str) -> None:
        self.models = {"speech": model_id}
        self._session = open_session(network)
        self._alphabet: dict[str, int] = json.loads(alphabet.read_bytes())
        self._pronunciation = pronunciation

    @classmethod
    def open(cls) -> Voice:
        """The installed voice. Raises `PartMissing` where its part is not on this machine."""
        from serval.weights import locate, model_id

        lexicons = (locate("hibari", "lexicon.json"), locate("hibari", "lexicon_more.json"))
        pronunciation = Pronunciation(lexicons, locate("hibari", "spelling.onnx"), locate("hibari", "spelling.json"))
        return cls(locate("hibari", "hibari.onnx"), locate("hibari", "vocab.json"), pronunciation, model_id("hibari"))

    def phonemes(self, text: str) -> list[str]:
        """What is said, one sentence after the other; long ones are parted where one may breathe."""
        return [part for each in sentences(text) for part in _parted(self._pronunciation(each)) if part]

    def speak(self, text: str, *, speed: float = 1.0) -> Iterator[Numbers]:
        """Sound at `RATE`, a sentence at a time as each is ready; the same text always sounds the same.

        Args:
            speed: 1 is the voice's own pace, 2 twice as fast.

        Raises:
            Refusal: longer than `LONGEST`, or not a speed.
        """
        if len(text) > LONGEST:
            raise Refusal("the text", f"it has {len(text):,} characters, and {LONGEST:,} is the limit", "say less at once")
        if not 0.25 <= speed <= 4.0:
            raise Refusal("the speed", f"it is {speed}", "give a number from 0.25 to 4")
        return (self._said(each, speed) for each in self.phonemes(text))

    def _said(self, phonemes: str, speed: float) -> Numbers:
        ids = [0, *(self._alphabet[each] for each in phonemes if each in self._alphabet), 0]
        given = {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
        names = ["lh", "theta", "ln", "lr", "phi", "f0"]
        found = [np.asarray(each)[0] for each in self._session.run(names, given)]
        return waveform(*found)


def sentences(text: str) -> list[str]:
    """Text parted after full stops and at ends of lines, but not after titles and initials."""
    made: list[str] = []
    for each in _SENTENCE.split(text):
        if made and _TITLE.search(made[-1]):
            made[-1] = f"{made[-1]} {each}"
        elif each.strip():
            made.append(each.strip())
    return made


def _parted(phonemes: str) -> list[str]:
    """Pieces that the network can be given, cut behind a comma if one is there, else between words."""
    made = []
    while len(phonemes) > _PHONEMES:
        cuts = [each.end() for each in _BREATH.finditer(phonemes, 0, _PHONEMES)]
        commas = [cut for cut in cuts if phonemes[: cut - 1][-1:] in ",;:—"]
        cut = (commas or cuts or [_PHONEMES])[-1]
        made.append(phonemes[:cut].strip())
        phonemes = phonemes[cut:]
    return [*made, phonemes.strip()]
