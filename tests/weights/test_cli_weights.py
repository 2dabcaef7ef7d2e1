"""`serval weights` as a person types it."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serval.cli import main
from serval.cli.weights import app
from serval.weights import cache, locate
from serval.weights.cache import cache_folder, part_folder
from serval.weights.manifest import manifest, part_named

from .conftest import Index

FILES = {"model.bin": b"weights" * 100}


def serval(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture
def real_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("real_manifest")
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_fits_and_breaks_no_name_or_version(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = serval("list")
    *lines, last = result.stdout.splitlines()
    assert result.exit_code == 0 and last == f"Cache: {cache_folder() / 'weights'}"
    widest = max(30 + len(f"{part.client} {part.package} {part.version} ·") for part in manifest().values())
    assert max(map(len, lines)) <= max(width, widest) and widest <= 80
    for part in manifest().values():
        assert f"{part.client} {part.package} {part.version} ·" in result.stdout and part.licence in result.stdout
    assert lines[1].split()[:4] == ["smollm2", "missing", "93", "MB"]
    assert [line.split()[:2] for line in lines if line.startswith("stamps")] == [["stamps", "optional"]]


@pytest.mark.usefixtures("at_hand")
def test_the_list_says_what_is_here(index: Index) -> None:
    index.add("one", FILES)
    index.add("two", FILES)
    index.add("three", FILES, default=False)
    serval("fetch", "two")
    name = f"hub:Owner/model@{'c' * 40}"
    folder = part_folder(part_named(name))
    folder.mkdir()
    (folder / "installed.json").write_text(f'{{"package": "Owner/model", "version": "{"c" * 40}", "files": {{}}}}')
    lines = serval("list").stdout.splitlines()
    rows = [line.split() for line in lines if line[:1].strip()]
    assert [row[:2] for row in rows] == [
        *(["part", "state"], ["one", "missing"], ["two", "here"], ["three", "optional"], ["hub.owner.model"]),
        ["Cache:", str(cache_folder() / "weights")],
    ]
    assert "here" in lines[lines.index("hub.owner.model") + 1]
    assert "hub Owner/model cccccccccccc ·" in lines[lines.index("hub.owner.model") + 2]


@pytest.mark.usefixtures("at_hand")
def test_fetch_brings_the_default_parts_and_all_of_them_when_asked(index: Index) -> None:
    index.add("one", FILES)
    index.add("two", FILES, default=False)
    result = serval("fetch")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "one: fetching 0 MB by pip\none: here\n"
    assert (again := serval("fetch")).exit_code == 0 and again.stderr == "All the parts asked for are here.\n"
    assert serval("fetch", "--all").stderr.endswith("two: here\n")
    assert serval("fetch", "two", "two", "one").stderr == "All the parts asked for are here.\n"
    assert index.downloads == ["one", "two"]


def test_what_cannot_be_had_is_one_line_with_what_is_off_and_the_rest_comes(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    index.add("first", FILES)
    index.add("boxes", FILES, client="npm", ability="objects")
    index.add("last", FILES)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = serval("fetch")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "serval: part boxes: it comes by npm, which is not on this machine; install Node.js (on Debian: apt-get install npm)",
        "        off until then: objects",
    ]
    assert "boxes: not fetched" in result.stderr and "Traceback" not in result.stderr
    assert locate("first", "model.bin").exists() and locate("last", "model.bin").exists()
    assert capfd.readouterr() == ("", "")  # nothing past the runner: no client's own words


@pytest.mark.usefixtures("at_hand")
def test_damage_is_named_by_verify_and_mended_by_the_fetch_that_it_names(index: Index) -> None:
    part = index.add("toy", FILES | {"config.json": b"{}"})
    index.add("other", FILES)
    index.add("not-here", FILES, default=False)
    serval("fetch")
    assert (serval("verify").exit_code, serval("verify").stdout) == (0, "toy: whole\nother: whole\n")
    path = part_folder(part) / "model.bin"
    before = path.stat()
    path.write_bytes(b"WEIGHTS" * 100)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    cache._checked.clear()  # as in another process
    result = serval("verify")
    assert result.exit_code == 1
    assert result.stdout == "toy: damaged (model.bin); run: serval weights fetch toy\nother: whole\n"
    assert serval("fetch", "toy").exit_code == 0
    assert serval("verify").stdout == "toy: whole\nother: whole\n"


def test_verify_of_an_empty_cache_says_so(index: Index) -> None:
    index.add("toy", FILES)
    result = serval("verify")
    assert (result.exit_code, result.stdout) == (0, "No part is here; run: serval weights fetch\n")


@pytest.mark.usefixtures("at_hand")
def test_everything_that_is_here_is_not_hashed_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("toy", FILES)
    serval("fetch")
    monkeypatch.setattr(cache, "hash_of", lambda path: pytest.fail(f"{path} is hashed"))
    assert serval("fetch").exit_code == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fetch", "toyy"], "serval: part toyy: there is no such part; choose one of: toy; or hub:OWNER/NAME@REVISION\n"),
        (["fetch", "hub:a/b@main"], "serval: part hub:a/b@main: a hub model is named with its revision; write hub:OWNER"),
    ],
)
def test_a_wrong_name_is_one_line_and_exit_code_2(
    words: list[str], line: str, index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index.add("toy", FILES)
    monkeypatch.setattr(sys, "argv", ["serval", "weights", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and capsys.readouterr().err.startswith(line)


def test_a_hub_that_is_switched_off_is_one_line(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = serval("fetch", f"hub:owner/model@{'d' * 40}")
    assert result.exit_code == 1
    assert "serval: part hub:owner/model: the hub is switched off (HF_HUB_OFFLINE); unset" in result.stderr
