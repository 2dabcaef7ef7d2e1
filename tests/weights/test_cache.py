"""A file is given out only when its bytes are the ones that were pinned."""

import os
from pathlib import Path

import pytest

from serval.refusal import Refusal
from serval.weights import PartMissing, install, locate, model_id
from serval.weights.cache import broken, cache_folder, hub_parts, installed, part_folder
from serval.weights.install import fetch
from serval.weights.manifest import Part, part_named

from .conftest import Index, sha256

pytestmark = pytest.mark.usefixtures("at_hand")
FILES = {"model.bin": b"weights" * 100, "config.json": b"{}"}
REVISION = "a" * 40


@pytest.fixture
def toy(index: Index) -> Part:
    part = index.add("toy", FILES)
    fetch("toy")
    return part


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SERVAL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache/serval"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/serval"
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_what_was_not_fetched_is_missing_and_the_remedy_is_named(index: Index) -> None:
    index.add("toy", FILES)
    for ask in (lambda: locate("toy"), lambda: locate("toy", "model.bin"), lambda: model_id("toy")):
        with pytest.raises(PartMissing, match=r"^part toy: it is not on this machine; run: serval weights fetch toy$"):
            ask()
    assert broken(part_named("toy")) == ("model.bin", "config.json")


def test_a_file_is_given_out_whole(toy: Part) -> None:
    assert locate("toy") == part_folder(toy)
    for name, content in FILES.items():
        assert locate("toy", name).read_bytes() == content


@pytest.mark.parametrize("name", ["other.bin", "../toy-1.0/model.bin", "installed.json", "/etc/passwd", "\x1b[2J"])
def test_only_what_was_installed_is_given_out(toy: Part, name: str) -> None:
    with pytest.raises(Refusal, match="it has no file") as refused:
        locate("toy", name)
    assert "\x1b" not in str(refused.value)


def test_a_damaged_file_is_refused_and_fetching_the_part_mends_it(toy: Part) -> None:
    path = locate("toy", "model.bin")
    path.write_bytes(b"damaged" * 100)
    with pytest.raises(
        Refusal, match=r"^part toy: its file model.bin is not what was installed .*; run: serval weights fetch toy$"
    ):
        locate("toy", "model.bin")
    assert locate("toy", "config.json").read_bytes() == b"{}"
    assert broken(toy) == broken(toy, quick=True) == ("model.bin",)
    assert fetch("toy")
    assert locate("toy", "model.bin").read_bytes() == FILES["model.bin"] and broken(toy) == ()


def test_a_record_that_was_changed_with_the_file_does_not_hide_it(toy: Part) -> None:
    path, record = locate("toy", "model.bin"), part_folder(toy) / "installed.json"
    path.write_bytes(b"other")
    record.write_text(record.read_text().replace(sha256(FILES["model.bin"]), sha256(b"other")))
    with pytest.raises(Refusal, match="is not what was installed"):
        locate("toy", "model.bin")
    assert broken(toy) == broken(toy, quick=True) == ("model.bin",)


def test_damage_that_keeps_size_and_time_escapes_the_quick_look_alone(toy: Part) -> None:
    path = part_folder(toy) / "model.bin"
    before = path.stat()
    path.write_bytes(b"WEIGHTS" * 100)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert broken(toy, quick=True) == ()
    assert broken(toy) == ("model.bin",)
    with pytest.raises(Refusal, match="is not what was installed"):
        locate("toy", "model.bin")


def test_a_copied_cache_has_other_times_and_is_whole(toy: Part) -> None:
    for path in part_folder(toy).iterdir():
        os.utime(path, (1, 1))
    assert broken(toy, quick=True) == broken(toy) == ()


def test_a_file_that_went_is_missing(toy: Part) -> None:
    (part_folder(toy) / "model.bin").unlink()
    with pytest.raises(PartMissing, match=r"its file model\.bin cannot be read"):
        locate("toy", "model.bin")
    assert broken(toy, quick=True) == ("model.bin",)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"files": []}', '{"files": 1}', '{"files": {}, "states": {"a": 1}}', "\ud800"]
)
def test_a_record_that_cannot_be_read_means_not_installed(toy: Part, content: str) -> None:
    (part_folder(toy) / "installed.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert installed(toy) is None
    with pytest.raises(PartMissing):
        locate("toy", "model.bin")
    assert fetch("toy") and locate("toy", "model.bin").exists()


def test_a_manifest_that_asks_for_more_than_was_installed_brings_it(index: Index, toy: Part) -> None:
    newer = index.add("toy", {**FILES, "vocabulary.txt": b"a b c"})
    assert broken(newer, quick=True) == ("vocabulary.txt",)
    converting = newer.model_copy(update={"converted": ("model.safetensors",)})
    assert broken(converting) == ("model.safetensors", "vocabulary.txt")
    assert fetch("toy") and locate("toy", "vocabulary.txt").read_bytes() == b"a b c"


def test_files_of_a_tree_are_checked_too(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def extract(part: Part, archive: Path, out: Path) -> None:
        (out / "tree/animals").mkdir(parents=True)
        (out / "tree/animals/dog.png").write_bytes(b"woof")

    monkeypatch.setattr(install, "extract", extract)
    part = index.add("pictures", {}, tree="usr/share/pictures")
    fetch("pictures")
    assert locate("pictures") == part_folder(part) / "tree"
    path = locate("pictures", "animals/dog.png")
    assert path.read_bytes() == b"woof" and broken(part, quick=True) == ()
    path.write_bytes(b"meow!")
    with pytest.raises(Refusal, match=r"its file animals/dog\.png is not what was installed"):
        locate("pictures", "animals/dog.png")
    assert broken(part, quick=True) == ("tree/animals/dog.png",)


def test_the_id_of_a_model_is_the_same_on_every_machine_and_other_for_other_bytes(index: Index) -> None:
    index.add("toy", FILES)
    fetch("toy")
    one = model_id("toy")
    index.add("toy", FILES | {"config.json": b"{ }"})
    fetch("toy")
    assert one == "toy 1.0 (8da46ac3)" and model_id("toy") != one


def test_hub_models_on_this_machine_are_known_by_their_names(index: Index) -> None:
    name = f"hub:Owner/a_model@{REVISION}"
    folder = part_folder(part_named(name))
    folder.mkdir(parents=True)
    (folder / "installed.json").write_text(f'{{"package": "Owner/a_model", "version": "{REVISION}", "files": {{}}}}')
    for number, odd in enumerate(["{", "[]", '{"package": "../..", "version": "1"}', '{"package": 1, "version": 2}']):
        (folder.parent / f"hub.{number}").mkdir()
        (folder.parent / f"hub.{number}" / "installed.json").write_text(odd)
    assert hub_parts() == [name]
