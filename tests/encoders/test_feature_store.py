"""Features come back as they were encoded, whatever interrupted their making; those of two towers never mix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from serval.encoders.feature_store import INDEX, FeatureStore, extract
from serval.encoders.features import Batch, Features, concatenate
from serval.encoders.sound import Sound
from serval.refusal import Refusal


class Doubling:
    """A tower that gives back what it sees, twice over: an item of n numbers is n tokens of width 2."""

    width, widths = 2, (2, 2)

    def __init__(self, name: str = "doubling") -> None:
        self.name, self.batches = name, []

    def prepare(self, items: Sequence[np.ndarray]) -> Batch:
        return Batch(torch.from_numpy(np.stack(items)))

    def encode(self, batch: Batch, *, taps: Sequence[int] = ()) -> Features:
        self.batches.append(len(batch))
        tokens = torch.stack([batch.values, batch.values * 2], dim=-1)
        return Features(tokens, taps=tuple(tokens + tap for tap in taps), tap_grids=(None,) * len(taps))

    def identity(self) -> str:
        return self.name


def item(number: int, length: int = 4) -> np.ndarray:
    return np.arange(length, dtype=np.float32) + 10 * number


def items(count: int, length: int = 4):
    return [(f"key {number}", partial(item, number, length)) for number in range(count)]


def contents(store: FeatureStore) -> dict[str, list]:
    return {key: store.read([key]).tokens.tolist() for key in store}


def index(folder) -> dict:
    return json.loads((folder / INDEX).read_text())


def test_features_come_back_by_key(tmp_path):
    done: list[int] = []
    store = extract(Doubling(), items(10), tmp_path, batch=4, progress=done.append, dtype=torch.float32)
    assert done == [4, 8, 10] and len(store) == 10 and list(store) == [key for key, _ in items(10)]
    assert "key 3" in store and "key 10" not in store
    found = store.read(["key 7", "key 2"])
    assert torch.equal(found.tokens[..., 0], torch.tensor(np.stack([item(7), item(2)])))
    assert (found.grid, found.prefix, found.pooled, found.times, found.taps) == (None, None, None, None, ())
    with pytest.raises(KeyError):
        store.read(["key 10"])
    with pytest.raises(ValueError, match="features of nothing"):
        store.read([])


@pytest.mark.parametrize("kind", ["clip_vision_model", "focalnet", "clap_audio_model"])
def test_everything_that_a_tower_says_is_kept(tiny, tmp_path, street, kind):
    """Tokens, prefix, pooled vector, times, what is valid, and the taps with their grids; exactly, in full precision."""
    tower = tiny(kind)
    if kind == "clap_audio_model":
        waves = [np.random.default_rng(seed).normal(size=40000 + 9000 * seed).astype(np.float32) for seed in range(3)]
        made = [(str(number), partial(Sound, wave, 48000)) for number, wave in enumerate(waves)]
    else:
        made = [(str(number), street[number].copy) for number in range(3)]
    store = extract(tower, made, tmp_path, taps=[0, -2], dtype=torch.float32, batch=2)
    expected = concatenate([tower.encode(tower.prepare([load()]), taps=[0, -2]) for _, load in made])
    found = store.read(["0", "1", "2"])
    assert (found.grid, found.tap_grids) == (expected.grid, expected.tap_grids)
    for name in ("tokens", "prefix", "pooled", "times", "valid"):
        have, want = getattr(found, name), getattr(expected, name)
        assert (have is None) == (want is None)
        if want is not None:
            torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)
    for have, want in zip(found.taps, expected.taps, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)
    assert store.made.tower == tower.identity() and store.made.taps == (0, -2)


def test_more_than_ten_taps_keep_their_order(tmp_path):
    store = extract(Doubling(), items(1), tmp_path, taps=range(12), dtype=torch.float32)
    found = store.read(["key 0"])
    assert [float(tap[0, 0, 0] - found.tokens[0, 0, 0]) for tap in found.taps] == list(range(12))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision_on_disk_is_asked_for(tmp_path, dtype):
    store = extract(Doubling(), items(2), tmp_path, dtype=dtype)
    assert store.read(["key 1"]).tokens.dtype == dtype
    assert store.made.dtype == str(dtype).removeprefix("torch.")


def test_shards_keep_to_their_size(tmp_path):
    """An item is 4 tokens of 2 floats, and the numbers of its grid: 40 bytes."""
    store = extract(Doubling(), items(7), tmp_path, dtype=torch.float32, shard_bytes=120)
    assert [len(shard.keys) for shard in store.shards] == [3, 3, 1]
    alone = extract(Doubling(), items(3), tmp_path / "small", dtype=torch.float32, shard_bytes=1)
    assert [len(shard.keys) for shard in alone.shards] == [1, 1, 1]
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [*(shard.file for shard in store.shards), INDEX]


def test_neighbours_of_one_size_are_encoded_together(tmp_path):
    tower = Doubling()
    sizes = [4, 4, 6, 4, 6, 6, 6]
    store = extract(tower, [(str(row), partial(item, row, size)) for row, size in enumerate(sizes)], tmp_path, batch=5)
    assert tower.batches == [2, 1, 1, 1, 2]
    assert [store.read([str(row)]).tokens.shape[1] for row in range(7)] == sizes
    with pytest.raises(ValueError, match="do not batch"):
        store.read(["0", "2"])


def test_an_exception_keeps_what_was_encoded_and_the_next_run_goes_on(tmp_path):
    def broken() -> np.ndarray:
        raise OSError("unreadable")

    wanted = items(9)
    with pytest.raises(OSError, match="unreadable"):
        extract(Doubling(), [*wanted[:5], ("key 5", broken), *wanted[6:]], tmp_path, batch=2)
    assert len(FeatureStore(tmp_path)) == 4
    loaded: list[str] = []

    def watched(key, load):
        loaded.append(key)
        return load()

    store = extract(Doubling(), [(key, partial(watched, key, load)) for key, load in wanted], tmp_path, batch=2)
    assert loaded == [f"key {number}" for number in range(4, 9)]
    assert contents(store) == contents(extract(Doubling(), wanted, tmp_path / "at once"))
    assert len(extract(Doubling(), wanted, tmp_path)) == 9 and len(list(tmp_path.glob("*.safetensors"))) == 2


@settings(max_examples=12)
@given(st.integers(0, 3), st.integers(0, 60), st.sampled_from(["before the index", "shard half written", "index half written"]))
def test_killed_at_any_moment_the_next_run_mends_it(tmp_path_factory, shards, cut, moment):
    """What a kill leaves: a shard that the index does not name, whole or not, or a file beside the place it was to take."""
    folder = tmp_path_factory.mktemp("killed")
    whole = extract(Doubling(), items(6), folder, shard_bytes=80, dtype=torch.float32)  # three shards of two
    expected, content = contents(whole), index(folder)
    for shard in content["shards"][shards:]:
        path = folder / shard["file"]
        if moment == "shard half written":
            path.replace(path.with_name(f"{path.name}.part"))
            path.with_name(f"{path.name}.part").write_bytes(b"x" * cut)
        elif moment == "index half written":
            (folder / f"{INDEX}.part").write_text(json.dumps(content)[:cut])
    (folder / INDEX).write_text(json.dumps({**content, "shards": content["shards"][:shards]}))
    mended = extract(Doubling(), items(6), folder, shard_bytes=80, dtype=torch.float32)
    assert contents(mended) == expected
    assert contents(FeatureStore(folder)) == expected


def test_a_shard_that_was_cut_off_or_lost_is_made_again(tmp_path, caplog):
    store = extract(Doubling(), items(6), tmp_path, shard_bytes=80, dtype=torch.float32)
    expected, (first, second, third) = contents(store), (tmp_path / shard.file for shard in store.shards)
    first.write_bytes(first.read_bytes()[:-5])
    second.unlink()
    reader = FeatureStore(tmp_path)
    for key in ("key 1", "key 3"):
        with pytest.raises(Refusal, match=r"features-0000\d\.safetensors: it is missing or cut off; extract"):
            reader.read([key])
    assert reader.read(["key 5"]).tokens.tolist() == expected["key 5"]
    mended = extract(Doubling(), items(6), tmp_path, shard_bytes=80, dtype=torch.float32)
    assert contents(mended) == expected and "2 shards are missing or cut off" in caplog.text
    third.write_bytes(b"\xff" * third.stat().st_size)
    with pytest.raises(Refusal, match="it is damaged"):
        FeatureStore(tmp_path).read(["key 5"])


@pytest.mark.parametrize(
    ("tower", "options", "said"),
    [
        (Doubling("another"), {}, r"of another tower \(doubling, not another\); choose another folder"),
        (Doubling(), {"taps": [0, -1]}, r"of another taps \(\(0,\), not \(0, -1\)\)"),
        (Doubling(), {"taps": [0], "dtype": torch.bfloat16}, r"of another dtype \(float16, not bfloat16\)"),
    ],
)
def test_features_of_another_making_do_not_mix(tmp_path, tower, options, said):
    extract(Doubling(), items(2), tmp_path, taps=[0])
    before = index(tmp_path)
    with pytest.raises(Refusal, match=said):
        extract(tower, items(4), tmp_path, **{"taps": [0], **options})
    assert index(tmp_path) == before


def test_a_key_that_comes_twice(tmp_path):
    with pytest.raises(ValueError, match="'key 0' comes twice"):
        extract(Doubling(), [*items(3), *items(1)], tmp_path, batch=2)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"tower": "a", "taps": [], "dtype": "float16", "shards": [{"file": "x"}]}', "outside"],
)
def test_an_index_that_is_none(tmp_path, content):
    if content == "outside":
        shard = {"file": "../x.safetensors", "bytes": 3, "keys": ["a"]}
        content = json.dumps({"tower": "a", "taps": [], "dtype": "float16", "shards": [shard]})
    (tmp_path / INDEX).write_text(content)
    for attempt in (lambda: FeatureStore(tmp_path), lambda: extract(Doubling(), items(1), tmp_path)):
        with pytest.raises(Refusal, match=r"index\.json: it "):
            attempt()
    with pytest.raises(Refusal, match="missing or cannot be read"):
        FeatureStore(tmp_path / "nothing")


def test_nothing_to_extract(tmp_path):
    """The folder is the tower's from the start, not only when the first shard is full."""
    assert len(extract(Doubling(), [], tmp_path)) == 0
    with pytest.raises(Refusal, match="another tower"):
        extract(Doubling("another"), [], tmp_path)


def test_shards_are_ordinary_safetensors(tmp_path):
    store = extract(Doubling(), items(2), tmp_path)
    with safe_open(tmp_path / store.shards[0].file, framework="np") as file:
        assert sorted(file.keys()) == ["0.grids", "0.tokens", "1.grids", "1.tokens"]
