"""Only the named members come out, of exactly the pinned size, whatever else an archive holds."""

import gzip
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serval.refusal import Refusal
from serval.weights import archive as archives
from serval.weights.archive import extract, room_for
from serval.weights.manifest import Part, PartFile

from .conftest import debian, sha256, tarball, wheel

DATA = bytes(range(256)) * 40


def part(members: dict[str, bytes], *, tree: str = "") -> Part:
    """``members``: as they are to be used; a packed one is unpacked into the cache."""
    files = tuple(
        PartFile(name=Path(member).name.removesuffix(".gz"), member=member, bytes=len(data), sha256=sha256(data))
        for member, data in members.items()
    )
    return Part(
        name="toy",
        package="toy",
        version="1",
        client="pip",
        licence="MIT",
        about="a toy",
        ability="play",
        default=False,
        files=files,
        tree=tree,
    )


def put(folder: Path, suffix: str, members: dict[str, bytes]) -> Path:
    tar = gzip.compress(tarball(members))
    path = folder / f"archive{suffix}"
    path.write_bytes({".whl": lambda: wheel("toy", members), ".tgz": lambda: tar, ".deb": lambda: debian(tar)}[suffix]())
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "a" / "out"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("suffix", [".whl", ".tgz", ".deb"])
def test_the_named_members_come_out_and_nothing_else(suffix: str, out: Path) -> None:
    held = {
        "p/setup.py": b"import os",
        "p/one.bin": DATA,
        "../../evil": b"evil",
        "/etc/evil": b"evil",
        "p/two.mp4.gz": gzip.compress(DATA),
    }
    extract(part({"p/one.bin": DATA, "p/two.mp4.gz": DATA}), put(out.parent, suffix, held), out)
    assert contents(out.parent.parent) == {
        "a/out/one.bin": DATA,
        "a/out/two.mp4": DATA,
        f"a/archive{suffix}": (out.parent / f"archive{suffix}").read_bytes(),
    }


@pytest.mark.parametrize("suffix", [".tgz", ".deb"])
def test_a_tree_comes_out_whole_without_links(suffix: str, out: Path) -> None:
    packed = gzip.compress(tarball({"./t/a/x.png": b"1", "./t/y": b"2", "./other": b"3"}, links={"./t/link": "/etc/passwd"}))
    path = out.parent / f"archive{suffix}"
    path.write_bytes(debian(packed) if suffix == ".deb" else packed)
    extract(part({}, tree="t"), path, out)
    assert contents(out) == {"tree/a/x.png": b"1", "tree/y": b"2"} and not (out / "tree/link").is_symlink()


def test_a_name_in_a_tree_that_leads_elsewhere_is_refused(out: Path) -> None:
    with pytest.raises(Refusal, match="a name that leads elsewhere"):
        extract(part({}, tree="t"), put(out.parent, ".tgz", {"t/../../../evil": b"evil"}), out)
    assert contents(out) == {} and not (out.parent.parent / "evil").exists()


@pytest.mark.parametrize(("limit", "value"), [("MAX_TREE_FILES", 2), ("MAX_TREE_BYTES", 2)])
def test_a_tree_larger_than_any_should_be_is_refused(
    limit: str, value: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(Refusal, match="holds more than it should"):
        extract(part({}, tree="t"), put(out.parent, ".tgz", {"t/1": b"1", "t/2": b"2", "t/3": b"3"}), out)


@pytest.mark.parametrize("suffix", [".whl", ".tgz", ".deb"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_bomb_stops_at_one_byte_more_than_the_pinned_size(suffix: str, packed: bool, out: Path) -> None:
    name = "p/one.bin.gz" if packed else "p/one.bin"
    bomb = b"\0" * (64 << 20)
    path = put(out.parent, suffix, {name: gzip.compress(bomb) if packed else bomb})
    with pytest.raises(Refusal, match=r"its file one\.bin is larger than it should be; run: serval weights fetch toy"):
        extract(part({name: DATA}), path, out)
    assert (out / "one.bin").stat().st_size <= len(DATA)


@pytest.mark.parametrize("suffix", [".whl", ".tgz", ".deb"])
def test_a_member_that_is_short_or_not_there_is_refused(suffix: str, out: Path) -> None:
    path = put(out.parent, suffix, {"p/one.bin": DATA[:-1]})
    with pytest.raises(Refusal, match="shorter than it should be"):
        extract(part({"p/one.bin": DATA}), path, out)
    with pytest.raises(Refusal, match=r"its archive (lacks p/two\.bin|is damaged or lacks a file)"):
        extract(part({"p/two.bin": DATA}), path, out)
    if suffix != ".whl":
        with pytest.raises(Refusal, match="its archive lacks elsewhere"):
            extract(part({}, tree="elsewhere"), path, out)


@given(suffix=st.sampled_from([".whl", ".tgz", ".deb"]), data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_damaged_in_an_archive_gives_the_file_or_one_line(suffix: str, data: st.DataObject, out: Path) -> None:
    path = put(out.parent, suffix, {"p/one.bin": DATA})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        extract(part({"p/one.bin": DATA}), path, out)
    except Refusal as refusal:
        assert str(refusal).startswith("part toy: its ") and len(str(refusal).splitlines()) == 1
    else:
        assert (out / "one.bin").stat().st_size == len(DATA)


@pytest.mark.parametrize(
    "content", [b"", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, b"not an archive", b"PK\x05\x06" + b"\0" * 18]
)
@pytest.mark.parametrize("suffix", [".whl", ".tgz", ".deb"])
def test_what_is_no_archive_is_refused(content: bytes, suffix: str, out: Path) -> None:
    path = out / f"archive{suffix}"
    path.write_bytes(content)
    with pytest.raises(Refusal, match="its archive is damaged or lacks a file"):
        extract(part({"p/one.bin": DATA}), path, out)


def test_a_locked_zip_is_refused(out: Path) -> None:
    path = put(out.parent, ".whl", {"p/one.bin": DATA})
    with zipfile.ZipFile(path) as zipped:
        start = zipped.start_dir
    content = bytearray(path.read_bytes())
    content[start + 8] |= 1  # the flag of an encrypted member, in the directory
    content[6] |= 1  # and in its own header
    path.write_bytes(content)
    with pytest.raises(Refusal, match="its archive is damaged or lacks a file"):
        extract(part({"p/one.bin": DATA}), path, out)


def test_a_disk_without_room_is_found_before_anything_is_fetched(out: Path) -> None:
    small = part({"p/one.bin": DATA})
    room_for(small, out)
    with pytest.raises(Refusal, match=r"MB are free in .*needed; make room, or set SERVAL_CACHE"):
        room_for(small.model_copy(update={"archive_bytes": 1 << 62}), out)
