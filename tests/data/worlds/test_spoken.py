"""Requests in a real voice: the same every time, another's deeper, and understood by who understands speech."""

import numpy as np
import pytest

from serval.data.worlds.requests import RATE, make, microphone
from serval.data.worlds.spoken import spoken
from serval.weights import PartMissing


@pytest.fixture(scope="module")
def voice():
    try:
        return spoken()
    except PartMissing as missing:
        pytest.skip(f"optional: {missing}")


def pitch(sound):
    """The lowest strong period of the loudest quarter second, in Hz."""
    width = RATE // 4
    loudest = max(
        range(0, len(sound) - width, width // 4), key=lambda start: float(np.square(sound[start : start + width]).sum())
    )
    piece = sound[loudest : loudest + width]
    alike = np.correlate(piece, piece, "full")[width - 1 :]
    lags = np.arange(RATE // 300, RATE // 80)
    return RATE / lags[alike[lags].argmax()]


def test_the_same_words_sound_the_same_and_somebody_else_is_deeper(voice):
    mine, again, other = (
        voice("what is two plus three", 0),
        voice("what is two plus three", 0),
        voice("what is two plus three", 1),
    )
    assert np.array_equal(mine, again) and mine.dtype == np.float32 and 0.8 < len(mine) / RATE < 3
    assert abs(len(other) / len(mine) - 1.2) < 0.02 and pitch(other) < 0.95 * pitch(mine)


def test_a_microphone_takes_it(voice):
    (stream,) = make(0, 1, 4)
    wave, spans = microphone(stream, voice)
    heard = [end - start for (start, end), each in zip(spans, stream, strict=True) if each.kind not in ("typed", "noise")]
    assert heard and min(heard) > 0.3 and np.abs(wave).max() <= 1.2


def test_whisper_understands_it(voice):
    from serval.assistant.listening.recogniser import WhisperRecogniser

    try:
        recogniser = WhisperRecogniser()
    except PartMissing as missing:
        pytest.skip(f"optional: {missing}")
    words = recogniser.words(voice("what is two plus three", 0)).lower()
    assert "what is" in words and ("plus" in words or "+" in words) and ("two" in words or "2" in words)
