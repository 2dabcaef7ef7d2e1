"""Does somebody speak? A score for every 32 ms, and stretches of speech made of the scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serval.encoders.onnx_session import open_session
from serval.weights import locate, model_id

RATE, CHUNK = 16_000, 512  # samples a second, and of one score
Samples = NDArray[np.float32]


class Activity(Protocol):
    """How likely it is that somebody speaks. ``models`` names the parts that it is made of."""

    models: dict[str, str]

    def score(self, chunk: Samples) -> float:
        """From 0 to 1 for the next `CHUNK` samples at `RATE`; what came before is remembered."""
        ...


class SileroActivity:
    """Silero VAD, 0.3 ms a chunk. Raises `PartMissing` where the part is not on this machine."""

    def __init__(self) -> None:
        self._session = open_session(locate("silero", "silero.onnx"))
        self.models = {"speech activity": model_id("silero")}
        self._state, self._before = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)

    def score(self, chunk: Samples) -> float:
        """See `Activity.score`."""
        wave = np.concatenate([self._before, chunk])[None].astype(np.float32)
        given = {"input": wave, "state": self._state, "sr": np.array(RATE, np.int64)}
        found, self._state = self._session.run(None, given)
        self._before = chunk[-64:]
        return float(found.ravel()[0])


class SpectralActivity:
    """What can be said without a model: louder than the room has been, voiced, and not a single steady tone.

    It is for machines without the part, and takes for speech much that is none (music, a dog): docs/listening.md has its rates.
    """

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self._floor = -70.0  # dB of the room: it falls at once and rises 3 dB a second
        self._window = np.hanning(CHUNK).astype(np.float32)

    def score(self, chunk: Samples) -> float:
        """See `Activity.score`."""
        power = np.abs(np.fft.rfft(chunk * self._window)) ** 2 + 1e-9
        level = 10 * np.log10(np.mean(chunk.astype(np.float64) ** 2) + 1e-9)
        self._floor = min(level, self._floor + 3 * CHUNK / RATE)
        voice = power[3:125]  # 100 Hz to 3.9 kHz
        flat = float(np.exp(np.log(voice).mean()) / voice.mean())  # 1 for hiss, towards 0 for harmonics
        above = min(level - max(self._floor, -60.0) - 12, 6.0)  # dB; louder than that tells nothing more
        share = float(voice.sum() / power.sum())
        return float(1 / (1 + np.exp(-(0.4 * above + 14 * (0.3 - flat) + 4 * (share - 0.7)))))


@dataclass(frozen=True, eq=False)
class Utterance:
    """Somebody spoke, from ``start`` to ``end`` seconds; ``samples`` at 16 kHz with a little before and behind."""

    start: float
    end: float
    samples: Samples


class Segmenter:
    """Stretches of speech: they begin at ``threshold``, and end when scores are below ``threshold - hysteresis`` for ``pause``.

    Args:
        pause: seconds of silence that end an utterance.
        shortest: seconds of speech that an utterance needs; a cough is none.
        longest: seconds after which it is ended in any case, so that memory stays bounded.
        pad: seconds kept before it.
    """

    def __init__(
        self,
        activity: Activity,
        *,
        threshold: float = 0.6,
        hysteresis: float = 0.15,
        pause: float = 0.5,
        shortest: float = 0.35,
        longest: float = 20.0,
        pad: float = 0.25,
    ) -> None:
        self._activity, self._threshold, self._low = activity, threshold, threshold - hysteresis
        self._pause, self._shortest, self._longest = (round(each * RATE / CHUNK) for each in (pause, shortest, longest))
        self._pad = round(pad * RATE / CHUNK)
        self._rest = np.zeros(0, np.float32)
        self._begun = 0.0  # time of the rest's first sample
        self._kept: list[Samples] = []  # before an utterance: its pad; then all of it
        self._speech = self._quiet = 0  # chunks of it that are speech, and that were silent lately
        self._start: float | None = None

    @property
    def speaking(self) -> bool:
        """Somebody is in the middle of an utterance."""
        return self._start is not None

    def hear(self, time: float, samples: Samples) -> Iterator[Utterance]:
        """Utterances that are over by the end of this sound (n,) at 16 kHz, which goes on from the last at ``time`` s."""
        if not len(self._rest):
            self._begun = time
        self._rest = np.concatenate([self._rest, samples])
        whole = len(self._rest) // CHUNK * CHUNK
        chunks, begun = self._rest[:whole].reshape(-1, CHUNK), self._begun
        self._rest, self._begun = self._rest[whole:], begun + whole / RATE
        for number, chunk in enumerate(chunks):
            if (said := self._next(begun + number * CHUNK / RATE, chunk)) is not None:
                yield said

    def finish(self) -> Iterator[Utterance]:
        """Nothing comes any more: what is being said is said."""
        if self._start is not None and (said := self._ended(self._begun)) is not None:
            yield said

    def _next(self, time: float, chunk: Samples) -> Utterance | None:
        score = self._activity.score(chunk)
        self._kept.append(chunk)
        if self._start is None:
            if score < self._threshold:
                del self._kept[: -self._pad or None]
                return None
            self._start, self._speech, self._quiet = time, 0, 0
        if score >= self._low:
            self._speech, self._quiet = self._speech + 1, 0
        else:
            self._quiet += 1
        if self._quiet >= self._pause or len(self._kept) >= self._longest:
            return self._ended(time + CHUNK / RATE - self._quiet * CHUNK / RATE)
        return None

    def _ended(self, end: float) -> Utterance | None:
        assert self._start is not None
        start, speech, kept = self._start, self._speech, self._kept
        self._start, self._kept = None, kept[-self._pad :]
        if speech < self._shortest:
            return None
        return Utterance(start, end, np.concatenate(kept[: len(kept) - max(0, self._quiet - self._pad)]))


def best_activity() -> Activity:
    """Silero where its part is on this machine, otherwise `SpectralActivity`."""
    from serval.weights import PartMissing

    try:
        return SileroActivity()
    except PartMissing:
        return SpectralActivity()
