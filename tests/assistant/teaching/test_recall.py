"""Known again, or unknown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.teaching.lesson import FEATURE, make_lesson
from serval.assistant.teaching.names import checked
from serval.assistant.teaching.recall import STRICTEST, SURE, Recall
from serval.refusal import Refusal


def thing(seed):
    """What all pictures of a thing share."""
    return np.abs(np.random.default_rng(seed).normal(size=FEATURE)) * (np.random.default_rng(seed + 99).random(FEATURE) < 0.2)


def views(seed, count, noise=0.3):
    rng = np.random.default_rng((seed, 5))
    return [(thing(seed) + noise * np.abs(rng.normal(size=FEATURE)) * (rng.random(FEATURE) < 0.2)).astype(np.float32)
            for _ in range(count)]  # fmt: skip


def lesson(name, seed, count=3, others=()):
    return make_lesson(name, views(seed, count), list(others), [])


NAMES = ("my mug", "gnome", "Bello")
TAUGHT = [lesson(name, seed) for seed, name in enumerate(NAMES)]


def test_each_is_known_in_other_pictures():
    recall = Recall(TAUGHT)
    for seed, name in enumerate(NAMES):
        found = recall.name(views(seed, 5)[3:4])
        assert found[0] is not None and found[0][0] == name and 0.5 <= found[0][1] <= 1


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["signed", "rectified", "sparse"]), st.floats(1e-3, 1e3))
def test_random_vectors_stay_unknown(seed, kind, size):
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=FEATURE) * size
    vector = np.abs(vector) if kind != "signed" else vector
    vector = vector * (rng.random(FEATURE) < 0.2) if kind == "sparse" else vector
    assert Recall(TAUGHT).name([vector.astype(np.float32)]) == [None]


def test_neither_order_of_lessons_nor_of_pictures_nor_how_they_are_parted_matters():
    mugs, gnomes = views(0, 4), views(1, 2)
    whole = Recall([make_lesson("my mug", mugs, [], []), make_lesson("gnome", gnomes, [], [])])
    parts = Recall([
        make_lesson("gnome", gnomes[::-1], [], []),
        make_lesson("my mug", [mugs[3]], [], []),
        make_lesson("My mug", [mugs[1], mugs[0], mugs[2]], [], []),
    ])  # fmt: skip
    probe = np.stack(views(0, 6) + views(1, 6))
    assert [each.casefold() for each in whole.names] == [each.casefold() for each in parts.names]
    assert whole.thresholds == parts.thresholds
    assert np.array_equal(whole.cosines(probe), parts.cosines(probe))


def test_length_of_a_feature_does_not_matter():
    recall, view = Recall(TAUGHT), views(1, 1)[0]
    assert recall.name([view * 7]) == recall.name([view]) == recall.name([view / 9])


def test_what_stood_beside_it_is_not_taken_for_it():
    near = (thing(0) + 0.9 * thing(7)).astype(np.float32)
    assert Recall([lesson("my mug", 0)]).name([near])[0] is not None
    strict = Recall([lesson("my mug", 0, others=[near])])
    assert SURE < strict.thresholds[0] <= STRICTEST
    if strict.thresholds[0] < STRICTEST:
        assert strict.name([near]) == [None]


def test_a_name_of_its_own_is_given_once_a_look():
    recall = Recall(TAUGHT)
    mugs = [thing(0).astype(np.float32), *views(0, 2)]
    assert [each and each[0] for each in recall.name(mugs)] == ["my mug", None, None]
    assert [each and each[0] for each in recall.name(views(1, 2))] == ["gnome", "gnome"]


def test_nothing_taught_knows_nothing():
    empty = Recall([])
    assert not empty and empty.names == () and empty.name(views(0, 2)) == [None, None] and Recall(TAUGHT).name([]) == []


@pytest.mark.parametrize("wrong", [np.zeros(FEATURE), np.full(FEATURE, np.inf), np.ones(7)])
def test_features_that_are_none(wrong):
    with pytest.raises(ValueError):
        make_lesson("my mug", [wrong.astype(np.float32)], [], [])
    with pytest.raises(ValueError):
        Recall(TAUGHT).name([wrong.astype(np.float32)])


class TestNames:
    @pytest.mark.parametrize(
        ("said", "name"),
        [("my mug", "my mug"), ("  a \n gnome ", "gnome"), ("An owl of mine", "owl of mine"), ("Anna’s bike", "Anna's bike"),
         ("R2-D2", "R2-D2"), ("mein Becher", "mein Becher"), ("我的杯子", "我的杯子")],
    )  # fmt: skip
    def test_are_cleaned(self, said, name):
        assert checked(said) == name

    @pytest.mark.parametrize(
        "said",
        ["", "  ", "a" * 41, "cup", "Mug", "vehicle", "person", "my\x1b[31m", "1234", "<b>mug", "mug; rm", "\u202e", "__"],
    )
    def test_are_refused(self, said):
        with pytest.raises(Refusal) as refused:
            checked(said)
        assert str(refused.value).isprintable()
