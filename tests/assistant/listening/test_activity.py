"""Scores to stretches of speech, however the sound comes in pieces; and a detector without a model on sounds of the world."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.assistant.listening.activity import CHUNK, RATE, Segmenter, SpectralActivity
from serval.data.worlds.requests import make, microphone


class Scripted:
    """The first sample of a chunk is its score."""

    models = {}  # noqa: RUF012

    def score(self, chunk):
        return float(chunk[0])


def sound(scores):
    return np.repeat(np.array(scores, np.float32), CHUNK)


def segments(scores, pieces=(4000,), **options):
    segmenter, wave, found, at, turn = Segmenter(Scripted(), **options), sound(scores), [], 0, 0
    while at < len(wave):
        part = wave[at : at + pieces[turn % len(pieces)]]
        found += list(segmenter.hear(at / RATE, part))
        at, turn = at + len(part), turn + 1
    return found + list(segmenter.finish())


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.9]), max_size=120),
    st.lists(st.integers(1, 3000), min_size=1, max_size=5),
)
def test_pieces_make_no_difference(scores, pieces):
    whole, cut = segments(scores), segments(scores, pieces)
    assert [each.start for each in whole] == pytest.approx([each.start for each in cut])
    assert [each.end for each in whole] == pytest.approx([each.end for each in cut])
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(whole, cut, strict=True))


@given(st.lists(st.sampled_from([0.0, 0.5, 0.9]), max_size=200))
def test_utterances_are_in_order_apart_and_bounded(scores):
    found = segments(scores, longest=2.0)
    for one, other in pairwise(found):
        assert one.start < one.end <= other.start
    assert all(len(each.samples) <= (2.0 + 0.3) * RATE and each.end - each.start <= 2.1 for each in found)


def test_a_pause_ends_it_a_dip_does_not_and_a_cough_is_none():
    speech, dip, pause = [0.9] * 20, [0.1] * 8, [0.1] * 20
    (one,) = segments([*pause, *speech, *dip, *speech, *pause])
    assert one.start == pytest.approx(20 * 0.032) and one.end == pytest.approx(68 * 0.032)
    assert len(one.samples) == pytest.approx((48 + 8 + 8) * CHUNK, abs=2 * CHUNK)  # a quarter second before and behind
    assert len(segments([*speech, *pause, *speech])) == 2
    assert segments([*pause, *[0.9] * 4, *pause]) == []


def test_scores_between_the_thresholds_go_on_but_do_not_begin():
    assert segments([0.5] * 60) == []
    (one,) = segments([0.9, *[0.5] * 40])
    assert one.end == pytest.approx(41 * 0.032)


def heard(request):
    """Whether anything is taken for speech in a request with silence around it."""
    wave, _ = microphone([replace(request, gap=1.0)])
    wave = np.concatenate([wave, np.random.default_rng(0).normal(0, 0.003, RATE).astype(np.float32)])
    segmenter = Segmenter(SpectralActivity())
    return bool([*segmenter.hear(0.0, wave), *segmenter.finish()])


def test_without_a_model_voices_are_heard_and_hiss_and_silence_are_not():
    requests = [each for stream in make(3, 6) for each in stream if each.kind != "typed"]
    voices = [heard(each) for each in requests if each.kind != "noise"]
    assert len(voices) > 15 and np.mean(voices) > 0.9
    hiss = [heard(replace(each, kind="noise", words="hiss")) for each in requests[:6]]
    assert not any(hiss)
    segmenter = Segmenter(SpectralActivity())
    quiet = np.random.default_rng(1).normal(0, 0.003, 5 * RATE).astype(np.float32)
    assert not [*segmenter.hear(0.0, quiet), *segmenter.finish()] and not segmenter.speaking
