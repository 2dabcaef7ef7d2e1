"""Questions, and what only sounds like them: what each state token needs can be told, and nothing less is enough."""

from __future__ import annotations

import numpy as np
import pytest

from serval.data.worlds.requests import (
    CODES,
    KINDS,
    LETTERS,
    NOT_FOR_ME,
    NUMBERS,
    QUESTION,
    RATE,
    TYPED,
    formants,
    make,
    microphone,
    oracle,
    solve,
)

STREAMS = make(0, 120)
REQUESTS = [request for stream in STREAMS for request in stream]


def of(*kinds):
    return [request for request in REQUESTS if request.kind in kinds]


def test_the_oracle_is_always_right():
    assert all(oracle(request) == (request.state, request.answer) for request in REQUESTS)


def test_states():
    states = {kind: {request.state for request in of(kind)} for kind in KINDS}
    assert states.pop("question") == {QUESTION} and states.pop("typed") == {TYPED}
    assert all(state == {NOT_FOR_ME} for state in states.values())
    assert all(bool(request.answer) == (request.state != NOT_FOR_ME) for request in REQUESTS)


def test_kinds_are_as_frequent_as_documented():
    for kind, share in KINDS.items():
        assert len(of(kind)) / len(REQUESTS) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("what comes after seven", "eight"),
        ("what comes before one", "zero"),
        ("what is six plus six", "twelve"),
        ("eight comes after seven", ""),
        ("two plus three is five", ""),
        ("hum", ""),
    ],
)
def test_the_grammar(words, answer):
    assert solve(words) == answer


class TestWhatIsNeeded:
    def test_who_hears_words_but_not_voices_cannot_tell_an_aside(self):
        asked, aside = ({request.words for request in of(kind)} for kind in ("question", "aside"))
        assert len(aside & asked) > 0.8 * len(aside) and all(solve(words) for words in aside)

    def test_a_statement_has_the_words_of_its_question_and_its_answer(self):
        for request in of("statement"):
            assert set(request.words.split()) <= {"comes", "after", "before", "plus", "is", *NUMBERS}
            assert len(request.words.split()) in (4, 5)

    def test_babble_has_the_letters_of_a_question_but_no_words(self):
        questions = {tuple(sorted(request.words)) for request in of("question", "aside", "typed")}
        known = [tuple(sorted(request.words)) in questions for request in of("babble")]
        assert np.mean(known) > 0.8 and not any(solve(request.words) for request in of("babble"))

    def test_always_answering_is_wrong_as_often_as_there_is_noise(self):
        heard = [request for request in REQUESTS if request.kind != "typed"]
        assert np.mean([request.state == NOT_FOR_ME for request in heard]) == pytest.approx(0.5, abs=0.05)


class TestCodes:
    def test_they_spell_what_is_said_and_by_whom(self):
        for request in REQUESTS:
            codes = request.codes
            assert codes.dtype == np.int64 and ((codes >= 0) & (codes < CODES)).all()
            if request.kind == "typed":
                assert len(codes) == 0
            elif request.kind == "noise":
                assert (codes >= 2 * len(LETTERS)).all()
            else:
                assert "".join(LETTERS[code % len(LETTERS)] for code in codes) == request.words
                assert set(codes // len(LETTERS)) == {request.speaker} == {int(request.kind == "aside")}


class TestSound:
    def test_each_request_is_where_it_is_said_to_be(self):
        wave, spans = microphone(STREAMS[0])
        assert wave.dtype == np.float32 and 0.05 < np.abs(wave).max() <= 1
        outside = np.ones(len(wave), bool)
        for request, (start, stop) in zip(STREAMS[0], spans, strict=True):
            inside = wave[round(start * RATE) : round(stop * RATE)]
            outside[round(start * RATE) : round(stop * RATE)] = False
            assert (len(inside) == 0) == (request.kind == "typed")
            assert len(inside) == 0 or np.std(inside) > 0.01
        assert np.std(wave[outside]) == pytest.approx(0.003, rel=0.05)
        gaps = [start - stop for (start, _), (_, stop) in zip(spans[1:], spans, strict=False)]
        assert all(0.79 <= gap <= 2.51 for gap in gaps)

    def test_letters_sound_unlike_one_another(self):
        spectra = []
        for letter in LETTERS.strip():
            power = np.abs(np.fft.rfft(formants(letter, 0), 2048)) ** 2
            bands = power[:1024].reshape(64, 16).sum(1)
            spectra.append(bands / np.linalg.norm(bands))
        alike = np.array(spectra) @ np.array(spectra).T - np.eye(26)
        assert alike.max() < 0.95

    @pytest.mark.parametrize(("speaker", "pitch"), [(0, 120), (1, 210)])
    def test_voices_differ_in_pitch(self, speaker, pitch):
        sound = formants("a", speaker).astype(float)
        echo = np.correlate(sound, sound, "full")[len(sound) - 1 :]
        lag = 50 + int(np.argmax(echo[50:200]))
        assert RATE / lag == pytest.approx(pitch, rel=0.03)

    def test_another_voice_may_speak(self):
        asked = []

        def voice(words, speaker):
            asked.append((words, speaker))
            return np.full(800, 0.5, np.float32)

        wave, spans = microphone(STREAMS[1], voice)
        spoken = [request for request in STREAMS[1] if request.kind not in ("typed", "noise")]
        assert asked == [(request.words, request.speaker) for request in spoken]
        assert [
            round(stop - start, 6) for request, (start, stop) in zip(STREAMS[1], spans, strict=True) if request in spoken
        ] == [0.05] * len(spoken)
        assert np.abs(wave).max() == pytest.approx(0.5, abs=0.02)
