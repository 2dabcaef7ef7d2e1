"""What was taught: kept, taken back, capped, and refused where it is damaged."""

import numpy as np
import pytest

from serval.assistant.teaching import store
from serval.assistant.teaching.lesson import make_lesson
from serval.refusal import Refusal


def rows(count, seed):
    return list(np.random.default_rng(seed).standard_normal((count, 1280)).astype(np.float32))


def lesson(name, count=2, seed=0):
    return make_lesson(name, rows(count, seed), [], [f"{number}.jpg" for number in range(count)])


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")}


def test_the_order_of_pictures_does_not_matter(tmp_path):
    regions = rows(3, 1)
    for name, given in (("one", regions), ("two", regions[::-1])):
        store.teach(tmp_path / name, make_lesson("mug", given, [], ["a", "b", "c"]))
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_taking_back_leaves_what_was_there_before(tmp_path):
    store.teach(tmp_path, lesson("mug"))
    before = content(tmp_path)
    store.teach(tmp_path, lesson("cup", seed=1))
    assert store.undo(tmp_path) == ("cup", 2) and content(tmp_path) == before
    store.teach(tmp_path, lesson("cup", seed=1))
    assert store.forget(tmp_path, "Cup") == 2 and content(tmp_path) == before
    assert [each.name for each in store.load(tmp_path)] == ["mug"]


def test_more_than_the_caps_allow_is_refused_and_nothing_changes(tmp_path):
    caps = store.Caps(objects=1, pictures=3)
    store.teach(tmp_path, lesson("mug"), caps)
    before = content(tmp_path)
    with pytest.raises(Refusal, match="1 things are the limit"):
        store.teach(tmp_path, lesson("cup", seed=1), caps)
    with pytest.raises(Refusal, match="4 pictures, and 3 are the limit"):
        store.teach(tmp_path, lesson("mug", seed=2), caps)
    with pytest.raises(Refusal, match="these very pictures"):
        store.teach(tmp_path, lesson("mug"), store.Caps(objects=2, pictures=9))
    assert content(tmp_path) == before


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    store.teach(tmp_path, lesson("mug"))
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(Refusal) as refused:
        store.load(tmp_path)
    assert "\n" not in str(refused.value)


def test_nothing_taught_is_nothing_known(tmp_path):
    assert store.load(tmp_path / "none") == ()
    with pytest.raises(Refusal, match="nothing was taught yet"):
        store.undo(tmp_path)
