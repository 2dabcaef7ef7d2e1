"""A session's sound: held until it is committed, or listened to for where somebody begins and ends to speak."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serval.assistant.listening.activity import CHUNK, RATE, Activity, Samples, Segmenter, Utterance
from serval.serving.realtime.protocol import ServerVad
from serval.serving.realtime.sound import Resampler


@dataclass(frozen=True)
class Started:
    """Somebody began to speak, so many milliseconds after the first sound of the session."""

    ms: int


@dataclass(frozen=True)
class Stopped:
    """He ended; ``said`` is None where it was too short to be speech."""

    ms: int
    said: Utterance | None


class Full(Exception):  # noqa: N818 - an outcome, not a fault
    """There is no room for more sound."""


class Ear:
    """See the module. Times are counted in samples, so they do not depend on how fast the sound comes.

    Args:
        activity: makes what finds speech, when it is first needed.
        most: seconds of sound that are held.
    """

    def __init__(self, activity: Callable[[], Activity], most: float) -> None:
        self._make, self._most = activity, round(most * RATE)
        self._vad: ServerVad | None = None
        self._segmenter: Segmenter | None = None
        self._resampler = Resampler()
        self._held: list[NDArray[np.int16]] = []
        self._count = self._heard = 0  # samples at 16 kHz: held, and of the whole session
        self._rest = np.zeros(0, np.float32)
        self._speaking = False

    @property
    def speaking(self) -> bool:
        """Whether somebody is in the middle of speaking, as far as that is looked for."""
        return self._speaking

    def configure(self, vad: ServerVad | None) -> None:
        """Look for speech in this way, or not at all; what was held is forgotten if that is something else than before."""
        if vad != self._vad:
            self.clear()
            self._vad = vad

    def append(self, samples: NDArray[np.int16]) -> Iterator[Started | Stopped]:
        """The next sound (n,) at 24 kHz.

        Raises:
            Full: it is too much to be held; nothing of it is.
        """
        if self._vad is None:
            if self._count + len(samples) * RATE // 24_000 > self._most:
                raise Full
            wave = self._resampler.feed(samples)
            self._held.append(np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16))
            self._count, self._heard = self._count + len(wave), self._heard + len(wave)
            return
        wave = np.concatenate([self._rest, self._resampler.feed(samples)])
        whole = len(wave) // CHUNK * CHUNK
        self._rest = wave[whole:]
        for chunk in wave[:whole].reshape(-1, CHUNK):
            yield from self._listen(chunk)

    def _listen(self, chunk: Samples) -> Iterator[Started | Stopped]:
        segmenter, begins = self._opened(), self._heard
        said = next(segmenter.hear(begins / RATE, chunk), None)
        self._heard += CHUNK
        if segmenter.speaking and not self._speaking:
            self._speaking = True
            yield Started(begins * 1000 // RATE)
        elif self._speaking and not segmenter.speaking:
            self._speaking = False
            yield Stopped(round(said.end * 1000) if said else self._heard * 1000 // RATE, said)

    def commit(self) -> Samples | None:
        """All that is held, or is being said; None if there is nothing. It is held no longer."""
        if self._vad is not None:
            said = next(self._segmenter.finish(), None) if self._segmenter is not None else None
            self._speaking = False
            return said.samples if said else None
        held = np.concatenate(self._held).astype(np.float32) / np.float32(32768) if self._held else None
        self._held, self._count = [], 0
        return held

    def clear(self) -> None:
        """Forget what is held or being said."""
        self._held, self._count, self._segmenter, self._speaking = [], 0, None, False
        self._rest = np.zeros(0, np.float32)

    def _opened(self) -> Segmenter:
        if self._segmenter is None:
            assert self._vad is not None
            self._segmenter = Segmenter(
                self._make(),
                threshold=max(0.16, self._vad.threshold),  # it ends 0.15 below that
                pause=self._vad.silence_duration_ms / 1000,
                pad=self._vad.prefix_padding_ms / 1000,
            )
        return self._segmenter
