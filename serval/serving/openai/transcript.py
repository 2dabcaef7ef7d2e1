"""Sound of any length to words with times, and those as subtitles."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from serval.assistant.listening.activity import RATE, Samples, Segmenter, best_activity
from serval.assistant.listening.recogniser import Recogniser
from serval.assistant.timeline.plain import one_line

_LONGEST = 12.0  # seconds: the recogniser writes so many words at the most as fit into them


@dataclass(frozen=True)
class Spoken:
    """Words between two times in seconds."""

    start: float
    end: float
    text: str


def transcribe(sound: Samples, ears: Recogniser, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Spoken]:
    """What is said in sound (n,) at 16 kHz, one stretch of speech after the other: they end at pauses, or after 12 s."""
    segmenter, length = Segmenter(best_activity(), shortest=0.2, longest=_LONGEST), len(sound) / RATE
    for said in segmenter.hear(0.0, np.concatenate([sound, np.zeros(RATE, np.float32)])):  # silence ends what is being said
        if cancelled():
            return
        if text := ears.words(said.samples, cancelled):
            yield Spoken(round(said.start, 3), round(min(said.end, length), 3), text)


def srt(words: Sequence[Spoken]) -> str:
    """SubRip."""
    cues = (f"{number}\n{_span(each, ',')}\n{one_line(each.text)}\n" for number, each in enumerate(words, 1))
    return "\n".join(cues)


def webvtt(words: Sequence[Spoken]) -> str:
    """WebVTT."""
    return "\n".join(
        ["WEBVTT\n", *(f"{_span(each, '.')}\n{html.escape(one_line(each.text), quote=False)}\n" for each in words)]
    )


def _span(words: Spoken, comma: str) -> str:
    return f"{_clock(words.start, comma)} --> {_clock(words.end, comma)}"


def _clock(seconds: float, comma: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{milliseconds:03}"
