"""A part is in its place whole or not at all, whatever happens on the way."""

import errno
import fcntl
import signal
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

from serval.refusal import Refusal
from serval.weights import install, locate
from serval.weights.cache import cache_folder, part_folder
from serval.weights.install import fetch
from serval.weights.manifest import Part, PartFile, part_named

from .conftest import Index, sha256

FILES = {"model.bin": b"weights" * 100, "config.json": b"{}"}
HUB = f"hub:owner/model@{'b' * 40}"


def weights_folder() -> set[str]:
    """What is in the cache besides locks."""
    return {path.name for path in (cache_folder() / "weights").iterdir() if path.suffix != ".lock"}


def downloads(part: Part) -> Path:
    folder = cache_folder() / "downloads" / part.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_part_comes_by_pip_once(index: Index, capfd: pytest.CaptureFixture[str]) -> None:
    part = index.add("toy", FILES)
    stages: list[tuple[str, int]] = []
    assert fetch("toy", lambda stage, done: stages.append((stage, done)))
    assert locate("toy", "model.bin").read_bytes() == FILES["model.bin"]
    assert list(dict.fromkeys(stage for stage, _ in stages)) == ["downloading", "extracting", "checking"]
    assert weights_folder() == {part.folder} and not (cache_folder() / "downloads" / part.folder).exists()
    index.unplug()
    before = part_folder(part).stat()
    assert not fetch("toy", lambda stage, done: pytest.fail("there is nothing to do"))
    assert part_folder(part).stat() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("at_hand")
def test_an_archive_that_is_not_the_pinned_one_is_thrown_away(index: Index) -> None:
    whole = index.add("toy", FILES)
    for change in ({"archive_sha256": "0" * 64}, {"archive_bytes": whole.archive_bytes + 1}):
        part = index.add("toy", FILES, **change)
        with pytest.raises(Refusal, match=r"^part toy: pip brought an archive that is not the pinned one; it was thrown away"):
            fetch("toy")
        assert weights_folder() == set() and list((cache_folder() / "downloads").iterdir()) == []
        assert not part_folder(part).exists()


@pytest.mark.usefixtures("at_hand")
def test_a_file_that_is_not_the_pinned_one_is_refused(index: Index) -> None:
    other = PartFile(name="model.bin", member="data/model.bin", bytes=len(FILES["model.bin"]), sha256="0" * 64)
    index.add("toy", FILES, files=(other,))
    with pytest.raises(Refusal, match=r"^part toy: its file model\.bin is not the pinned one; run: serval weights fetch toy$"):
        fetch("toy")
    assert weights_folder() == set()


@pytest.mark.usefixtures("at_hand")
def test_half_an_archive_of_an_earlier_try_is_not_used_and_a_whole_one_is(index: Index) -> None:
    part = index.add("toy", FILES)
    (wheel,) = index.wheels.iterdir()
    content = wheel.read_bytes()
    for not_whole in (content[: len(content) // 2], content[:-1] + b"?", b""):
        (downloads(part) / wheel.name).write_bytes(not_whole)
        (downloads(part) / "temporary").mkdir()
        assert fetch("toy") and index.downloads.pop() == "toy"
        (part_folder(part) / "model.bin").unlink()
    (downloads(part) / wheel.name).write_bytes(content)
    assert fetch("toy") and index.downloads == []
    assert locate("toy", "model.bin").exists() and not (cache_folder() / "downloads" / part.folder).exists()


@pytest.mark.parametrize("moment", ["extract", "_check_files", "_write_installed"])
def test_killed_in_the_middle_the_old_state_stays_and_the_next_try_succeeds(index: Index, moment: str) -> None:
    index.add("toy", FILES)
    assert fetch("toy")
    part = index.add("toy", FILES | {"vocabulary.txt": b"a b c"})  # the manifest moves on, so there is work to do
    killed = index.process(
        "import os, signal\n"
        "from serval.weights import install\n"
        f"install.{moment} = lambda *rest: os.kill(os.getpid(), signal.SIGKILL)\n"
        "install.fetch('toy')"
    )
    assert killed.wait() == -signal.SIGKILL
    assert weights_folder() == {part.folder, f"{part.folder}.partial"}
    assert locate("toy", "model.bin").read_bytes() == FILES["model.bin"]
    index.unplug()  # the archive had come whole and is not asked for again
    assert fetch("toy")
    assert locate("toy", "vocabulary.txt").read_bytes() == b"a b c" and weights_folder() == {part.folder}


@pytest.mark.parametrize("renamings", [0, 1])
def test_killed_between_the_two_renamings_a_part_is_missing_but_never_half_there(index: Index, renamings: int) -> None:
    part = index.add("toy", FILES)
    assert fetch("toy")
    (part_folder(part) / "model.bin").write_bytes(b"damaged")
    killed = index.process(
        "import os, signal\n"
        "from serval.weights import install\n"
        f"rename, left = Path.rename, [None] * {renamings}\n"
        "Path.rename = lambda *rest: (rename(*rest), left.pop()) if left else os.kill(os.getpid(), signal.SIGKILL)\n"
        "install.fetch('toy')"
    )
    assert killed.wait() == -signal.SIGKILL
    assert part_folder(part).exists() == (renamings == 0)
    with pytest.raises(Refusal, match="run: serval weights fetch toy"):
        locate("toy", "model.bin")
    index.unplug()
    assert fetch("toy")
    assert locate("toy", "model.bin").read_bytes() == FILES["model.bin"] and weights_folder() == {part.folder}


def test_two_processes_that_want_the_same_part_fetch_it_once(index: Index) -> None:
    part = index.add("toy", FILES)
    (cache_folder() / "weights").mkdir(parents=True)
    program = (
        "import fcntl\n"
        "from serval.weights import install\n"
        "flock = fcntl.flock\n"
        "fcntl.flock = lambda *rest: (print('waiting', flush=True), flock(*rest))\n"
        "print(install.fetch('toy'))"
    )
    with (cache_folder() / "weights" / f"{part.folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [index.process(program) for _ in range(2)]
        for each in both:
            assert each.stdout is not None and each.stdout.readline() == "waiting\n"
    assert sorted(each.communicate()[0].strip() for each in both) == ["False", "True"]
    assert locate("toy", "model.bin").exists() and weights_folder() == {part.folder}


@pytest.mark.usefixtures("at_hand")
def test_a_part_is_converted_when_it_is_installed(index: Index, tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "model.pth")
    index.add("toy", {"model.pth": (tmp_path / "model.pth").read_bytes()}, convert="pth", converted=("model.safetensors",))
    fetch("toy")
    assert load_file(locate("toy", "model.safetensors"))["weight"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("at_hand")
def test_what_cannot_be_converted_leaves_nothing(index: Index) -> None:
    index.add("toy", {"model.pth": b"no checkpoint"}, convert="pth", converted=("model.safetensors",))
    with pytest.raises(Refusal, match="is not a checkpoint of plain tensors"):
        fetch("toy")
    assert weights_folder() == set()


@pytest.mark.usefixtures("at_hand")
@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "files cannot be written there")]
)
def test_a_disk_that_takes_no_more_is_one_line(index: Index, number: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def extract(part: Part, archive: Path, out: Path) -> None:
        (out / "model.bin").write_bytes(b"half")
        raise OSError(number, "as the system says it", str(archive))

    index.add("toy", FILES)
    with monkeypatch.context() as patched:
        patched.setattr(install, "extract", extract)
        with pytest.raises(Refusal, match=f": {why}.*; make room, or set SERVAL_CACHE to a folder of your own$"):
            fetch("toy")
    assert weights_folder() == set()
    assert fetch("toy") and index.downloads == ["toy"]  # the archive was kept


def test_a_cache_that_is_a_file_is_one_line(index: Index) -> None:
    index.add("toy", FILES)
    cache_folder().write_text("a file")
    with pytest.raises(Refusal, match="files cannot be written there; make room, or set SERVAL_CACHE"):
        fetch("toy")


def snapshot(files: dict[str, bytes], asked: dict[str, object]) -> object:
    """Stands for the hub's own client."""

    def download(repository: str, *, local_dir: Path, **rest: object) -> str:
        asked.update(rest, repository=repository)
        for name, content in {**files, ".cache/huggingface/trace": b""}.items():
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_bytes(content)
        return str(local_dir)

    return download


def test_a_hub_model_comes_by_its_revision_and_is_checked_like_any(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    files = {"model.safetensors": b"tensors", "1_Pooling/config.json": b"{}", "installed.json": b"its own"}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot(files, asked))
    assert fetch(HUB) and not fetch(HUB)
    assert asked["repository"] == "owner/model" and asked["revision"] == "b" * 40
    assert not {".py", ".bin", ".pt", ".pth", ".pkl"} & {Path(pattern).suffix for pattern in asked["allow_patterns"]}  # type: ignore[attr-defined]
    assert locate(HUB, "1_Pooling/config.json").read_bytes() == b"{}"
    path = locate(HUB, "model.safetensors")
    assert sha256(path.read_bytes()) == sha256(b"tensors") and not (path.parent / ".cache").exists()
    path.write_bytes(b"Tensors")
    with pytest.raises(Refusal, match="is not what was installed"):
        locate(HUB, "model.safetensors")


def test_with_the_hub_switched_off_nothing_is_asked(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *rest, **more: pytest.fail("it was asked"))
    with pytest.raises(Refusal, match=r"^part hub:owner/model: the hub is switched off \(HF_HUB_OFFLINE\); unset"):
        fetch(HUB)
    assert weights_folder() == set()


def test_a_hub_that_fails_or_has_no_safetensors_is_one_line(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*rest: object, **more: object) -> None:
        raise ConnectionError("https://token:secret@hub/owner/model")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(Refusal, match="the hub could not be reached or does not have it") as refused:
        fetch(HUB)
    assert "secret" not in str(refused.value)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot({"config.json": b"{}"}, {}))
    with pytest.raises(Refusal, match="it holds no safetensors"):
        fetch(HUB)
    assert weights_folder() == set() and not part_folder(part_named(HUB)).exists()
