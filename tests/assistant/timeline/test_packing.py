import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.assistant.timeline.packing import pack, quantize, unpack
from serval.encoders.percept import Detection, Face, Hand, Percept, TextLine
from serval.media.box import Box

unit = st.floats(0, 1)
boxes = st.builds(Box, unit, unit, unit, unit)


def arrays(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).standard_exponential(shape, np.float32))


def some(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | st.lists(strategy, max_size=4).map(tuple)


percepts = st.builds(
    Percept,
    source=st.text(max_size=20),
    index=st.integers(0, 2**53),
    time=st.floats(allow_nan=False),
    luma=st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 256, (36, 64), np.uint8)),
    sha256=st.sampled_from(["", "ab" * 32]),
    width=st.integers(0, 8192),
    height=st.integers(0, 8192),
    feature=st.none() | arrays(1280),
    tags=st.none() | arrays(1000),
    detections=some(st.builds(Detection, boxes, arrays(80))),
    hands=some(st.builds(Hand, boxes, unit, unit, st.none() | arrays(21, 2))),
    faces=some(st.builds(Face, boxes, unit)),
    text=some(st.builds(TextLine, st.text(st.characters(), max_size=20), unit, boxes)),
    cost=st.dictionaries(st.text(max_size=8), unit, max_size=3),
)


def leaves(value: object) -> object:
    """A percept as plain lists, so that two can be compared to the last bit."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, tuple):
        return (type(value).__name__, [leaves(each) for each in value])
    if hasattr(value, "__dataclass_fields__"):
        return [leaves(getattr(value, name)) for name in value.__dataclass_fields__]
    return (type(value).__name__, value)


@settings(max_examples=60)
@given(percepts)
def test_what_was_quantized_comes_back_to_the_last_bit(percept):
    kept = quantize(percept)
    assert leaves(unpack(pack(kept))) == leaves(kept)
    assert leaves(quantize(kept)) == leaves(kept)


@settings(max_examples=30)
@given(percepts)
def test_quantizing_changes_numbers_by_a_thousandth_at_most_and_nothing_else(percept):
    kept = quantize(percept)
    for name in ("source", "index", "time", "sha256", "width", "height", "cost"):
        assert getattr(kept, name) == getattr(percept, name)
    assert np.array_equal(kept.luma, percept.luma)
    for name in ("detections", "hands", "faces", "text"):
        before, after = getattr(percept, name), getattr(kept, name)
        assert (before is None) == (after is None)
        for old, new in zip(before or (), after or (), strict=True):
            assert np.allclose(old.box, new.box, rtol=1e-6, atol=1e-38)
            if name == "detections":
                assert np.allclose(old.scores, new.scores, rtol=1e-3, atol=1e-7)
                assert new.scores.dtype == np.float32
            elif name == "text":
                assert old.text == new.text
            elif name == "hands":
                assert (old.points is None) == (new.points is None)
                assert old.points is None or np.array_equal(old.points, new.points)
    for name in ("feature", "tags"):
        before, after = getattr(percept, name), getattr(kept, name)
        assert (before is None) == (after is None)
        assert before is None or (after.dtype == np.float32 and np.allclose(before, after, rtol=1e-3, atol=1e-7))


def test_a_feature_out_of_range_stays_finite():
    percept = Percept("a", 0, 0.0, np.zeros((36, 64), np.uint8), feature=np.full(1280, 1e9, np.float32))
    assert np.isfinite(quantize(percept).feature).all()


@settings(max_examples=100)
@given(st.binary(max_size=300), st.data())
def test_damaged_bytes_are_told_from_good_ones(noise, data):
    good = pack(Percept("a", 0, 0.0, np.zeros((36, 64), np.uint8), text=(TextLine("x", 1.0, Box(0, 0, 1, 1)),)))
    cut = data.draw(st.integers(0, len(good) - 1))
    for bad in (noise, good[:cut], zlib.compress(noise), zlib.compress(zlib.decompress(good)[:cut])):
        with pytest.raises(ValueError, match="packed percept"):
            unpack(bad)


def test_a_bomb_is_not_unfolded():
    with pytest.raises(ValueError, match="too large"):
        unpack(zlib.compress(bytes(100 << 20)))


def test_nothing_in_it_is_ever_executed():
    payload = b"cos\nsystem\n(S'touch /tmp/serval-canary'\ntR."
    with pytest.raises(ValueError, match="packed percept"):
        unpack(zlib.compress(payload))
