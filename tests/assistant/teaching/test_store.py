"""Lessons on the disk: exact, whole after any death, bounded, and distrusted."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serval.assistant.teaching import store
from serval.assistant.teaching.lesson import FEATURE, make_lesson
from serval.assistant.teaching.person import TAUGHT
from serval.refusal import Refusal


def rows(seed, count):
    return list(np.abs(np.random.default_rng(seed).normal(size=(count, FEATURE))).astype(np.float32))


def lesson(name, seed, count=2, beside=1):
    return make_lesson(name, rows(seed, count), rows(seed + 1000, beside), [f"{seed}.jpg"])


def content(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.startswith(".")}


class TestExact:
    def test_what_is_taught_comes_back(self, tmp_path):
        given = [lesson("my mug", 1), lesson("gnome", 2, beside=0), lesson("My Mug", 3)]
        for each in given:
            store.teach(tmp_path, each)
        for kept, each in zip(store.load(tmp_path), given, strict=True):
            assert (kept.name, kept.shown) == (each.name, each.shown)
            assert np.array_equal(kept.regions, each.regions) and np.array_equal(kept.others, each.others)

    def test_order_of_pictures_does_not_matter(self, tmp_path):
        pictures = list(zip(rows(1, 3), ["a.jpg", "b.jpg", "c.jpg"], strict=True))
        written = []
        for number, order in enumerate(itertools.permutations(pictures)):
            folder = tmp_path / str(number)
            store.teach(folder, make_lesson("my mug", [row for row, _ in order], [], [name for _, name in order]))
            written.append(content(folder))
        assert all(each == written[0] for each in written)

    def test_undo_and_forget_leave_the_bytes_that_were_there(self, tmp_path):
        states = []
        for number in range(4):
            store.teach(tmp_path, lesson(f"thing of {'abcd'[number]}", number))
            states.append(content(tmp_path))
        store.teach(tmp_path, lesson("my mug", 9))
        assert store.forget(tmp_path, "MY  mug") == 2
        assert content(tmp_path) == states[3]
        for number in (2, 1, 0):
            store.undo(tmp_path)
            assert content(tmp_path) == states[number]
        store.undo(tmp_path)
        assert store.load(tmp_path) == ()
        with pytest.raises(Refusal):
            store.undo(tmp_path)

    def test_forgetting_takes_the_pictures_off_the_disk(self, tmp_path):
        store.teach(tmp_path, lesson("my mug", 1))
        store.forget(tmp_path, "my mug")
        assert not list(tmp_path.glob("*.safetensors"))
        with pytest.raises(Refusal, match="nothing of that name"):
            store.forget(tmp_path, "my mug")


class TestCaps:
    def test_of_things_and_pictures(self, tmp_path):
        caps = store.Caps(objects=2, pictures=5)
        store.teach(tmp_path, lesson("one mug of Ann", 1, 3), caps)
        store.teach(tmp_path, lesson("one mug of Bob", 2, 5), caps)
        before = content(tmp_path)
        with pytest.raises(Refusal, match="2 things are the limit"):
            store.teach(tmp_path, lesson("one mug of Cid", 3, 1), caps)
        with pytest.raises(Refusal, match="6 pictures, and 5 are the limit"):
            store.teach(tmp_path, lesson("one mug of Ann", 4, 3), caps)
        with pytest.raises(Refusal, match="shown already"):
            store.teach(tmp_path, lesson("one mug of Ann", 1, 3), store.Caps())
        assert content(tmp_path) == before
        store.teach(tmp_path, lesson("one mug of Ann", 4, 2), caps)

    @pytest.mark.parametrize("wrong", [{"objects": 0}, {"pictures": 0}, {"objects": 1001}])
    def test_caps_have_bounds(self, wrong):
        with pytest.raises(Refusal):
            store.Caps(**wrong)


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda folder: (folder / TAUGHT).write_bytes((folder / TAUGHT).read_bytes()[:-20]),
            lambda folder: (folder / TAUGHT).write_bytes(b"\x80\x04K\x01."),
            lambda folder: (folder / TAUGHT).write_text(json.dumps({"version": 2, "lessons": []})),
            lambda folder: (folder / TAUGHT).write_bytes(b" " * (5 << 20)),
            lambda folder: next(folder.glob("*.safetensors")).unlink(),
            lambda folder: next(folder.glob("*.safetensors")).write_bytes(b"\0" * 100),
            lambda folder: next(folder.glob("*.safetensors")).write_bytes(b"\0" * (1 << 20)),
        ],
    )
    def test_is_refused_in_one_line(self, tmp_path, damage):
        store.teach(tmp_path, lesson("my mug", 1))
        damage(tmp_path)
        with pytest.raises(Refusal) as refused:
            store.load(tmp_path)
        assert "\n" not in str(refused.value) and TAUGHT in str(refused.value)

    @pytest.mark.parametrize("rows", [np.zeros((2, 5)), np.full((2, FEATURE), np.nan), np.zeros((1, FEATURE), np.float64)])
    def test_a_file_with_the_right_hash_and_wrong_numbers_is_refused(self, tmp_path, rows):
        import hashlib

        from safetensors.numpy import save

        data = save({"regions": rows if rows.dtype == np.float64 and rows.shape[0] == 1 else rows.astype(np.float32),
                     "others": np.zeros((0, FEATURE), np.float32)})  # fmt: skip
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / f"lesson-{digest[:16]}.safetensors").write_bytes(data)
        entry = {"name": "my mug", "pictures": len(rows), "shown": [], "sha256": digest}
        (tmp_path / TAUGHT).write_text(json.dumps({"version": 1, "lessons": [entry]}))
        with pytest.raises(Refusal, match="holds no lesson"):
            store.load(tmp_path)

    def test_half_a_file_beside_is_ignored_and_a_lesson_that_nobody_names_is_cleared(self, tmp_path):
        store.teach(tmp_path, lesson("my mug", 1))
        kept = content(tmp_path)
        (tmp_path / f".{TAUGHT}.abc.new").write_bytes(b"{")
        (tmp_path / "lesson-0123456789abcdef.safetensors").write_bytes(b"half")
        assert len(store.load(tmp_path)) == 1
        store.teach(tmp_path, lesson("gnome", 2))
        store.undo(tmp_path)
        assert content(tmp_path) == kept


@pytest.mark.parametrize(
    ("call", "number", "after"),
    [("fsync", 0, False), ("replace", 0, False), ("fsync", 1, False), ("replace", 1, False), ("fsync", 2, True)],
)
def test_killed_at_every_step_it_holds_all_of_before_or_all_of_after(tmp_path, call, number, after):
    """Die by SIGKILL just before the lesson's file, then the list, is made durable or takes its place."""
    store.teach(tmp_path, lesson("my mug", 1))
    program = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import lesson, store
left = [{number}]
def deadly(real):
    def dying(*given):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*given)
    return dying
if {call!r} == "fsync":
    os.fsync = deadly(os.fsync)
else:
    pathlib.Path.replace = deadly(pathlib.Path.replace)
store.teach(pathlib.Path({str(tmp_path)!r}), lesson("gnome", 2))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [each.name for each in store.load(tmp_path)] == ["my mug", "gnome"][: 1 + after]
    store.teach(tmp_path, lesson("another of mine", 3))  # nothing hinders what comes after
    assert store.load(tmp_path)[-1].name == "another of mine"
