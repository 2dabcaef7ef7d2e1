"""The packages' own clients: what they bring, what they say, and what is left when they fail."""

import os
import stat
import sys
from pathlib import Path

import pytest

from serval.refusal import Refusal
from serval.weights import clients
from serval.weights.clients import download
from serval.weights.manifest import Part

from .conftest import Index

FILES = {"model.bin": b"weights"}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, for clients of our own making."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def client(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def toy(index: Index, name: str) -> Part:
    return index.add("toy", FILES, client=name, package="@who/toy" if name == "npm" else "toy")


def test_pip_brings_the_wheel_and_shows_nothing(index: Index, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    part = index.add("toy", FILES)
    path = download(part, tmp_path / "downloads")
    assert path == tmp_path / "downloads/toy_package-1.0-py3-none-any.whl" and path.stat().st_size == part.archive_bytes
    assert list(path.parent.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")


def test_pip_that_finds_nothing_is_one_line_without_pips_words(
    index: Index, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://somebody:secret@127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "0")
    part = index.add("toy", FILES)
    index.unplug()
    with pytest.raises(
        Refusal, match=r"^part toy: pip could not fetch toy-package 1\.0; check the network and run it again; .*$"
    ):
        download(part, tmp_path / "downloads")
    assert capfd.readouterr() == ("", "") and list((tmp_path / "downloads").iterdir()) == []


def test_a_python_without_pip_is_one_line(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match="it comes by pip, which this Python does not have; run: python -m ensurepip"):
        download(index.add("toy", FILES), tmp_path)


@pytest.mark.parametrize(
    ("name", "command", "remedy"),
    [("npm", "npm", "install Node.js"), ("apt", "apt-get", "it exists on Debian")],
)
def test_a_client_that_is_not_there_is_named_with_its_remedy(
    name: str, command: str, remedy: str, index: Index, tmp_path: Path, program: Path
) -> None:
    with pytest.raises(Refusal, match=f"^part toy: it comes by {command}, which is not on this machine; {remedy}"):
        download(toy(index, name), tmp_path / "downloads")


def test_npm_packs_the_version_and_runs_no_script(index: Index, tmp_path: Path, program: Path) -> None:
    client(program, "npm", f'echo "$@" >> {tmp_path}/asked; echo noise; echo noise >&2; echo data > toy.tgz')
    path = download(toy(index, "npm"), tmp_path / "downloads")
    assert path == tmp_path / "downloads/toy.tgz" and path.read_text() == "data\n"
    words = (tmp_path / "asked").read_text().split()
    assert words[:3] == ["pack", "--ignore-scripts", "--silent"] and words[-1] == "@who/toy@1.0"


def test_apt_downloads_and_installs_nothing(index: Index, tmp_path: Path, program: Path) -> None:
    client(program, "apt-get", f'echo "$@" >> {tmp_path}/asked; [ "$1" = update ] || echo data > toy_1.0_all.deb')
    assert download(toy(index, "apt"), tmp_path / "downloads").name == "toy_1.0_all.deb"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-1] == "download -qq toy=1.0" and asked[:-1] in ([], ["update -qq"])


@pytest.mark.parametrize(("body", "why"), [("exit 1", "npm could not fetch @who/toy"), ("exit 0", "npm brought 0 archives")])
def test_a_client_that_fails_leaves_nothing(body: str, why: str, index: Index, tmp_path: Path, program: Path) -> None:
    client(program, "npm", f"echo half > half.tmp; {body}")
    with pytest.raises(Refusal, match=f"^part toy: {why}"):
        download(toy(index, "npm"), tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_two_archives_are_one_too_many(index: Index, tmp_path: Path, program: Path) -> None:
    client(program, "npm", "echo 1 > a.tgz; echo 2 > b.tgz")
    with pytest.raises(Refusal, match="npm brought 2 archives where one was asked for"):
        download(toy(index, "npm"), tmp_path / "downloads")


def test_a_client_that_cannot_be_started_is_one_line(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(Refusal, match=r"^part toy: pip cannot be started; check"):
        download(index.add("toy", FILES), tmp_path / "downloads")


def test_progress_counts_what_has_come_and_a_stalled_client_is_ended(
    index: Index, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(program, "npm", f"echo $$ > {tmp_path}/pid; printf 12345 > half.tgz; exec sleep 600")

    def progress(done: int) -> None:
        if done == 5:
            monkeypatch.setattr(clients, "_TIMEOUT", 0.0)

    with pytest.raises(Refusal, match="npm did not finish within an hour"):
        download(toy(index, "npm"), tmp_path / "downloads", progress)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_interrupt_ends_the_client_too(index: Index, tmp_path: Path, program: Path) -> None:
    def interrupt(done: int) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt

    client(program, "npm", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(KeyboardInterrupt):
        download(toy(index, "npm"), tmp_path / "downloads", interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_folders_that_vanish_while_they_are_measured_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def scan_and_remove(folder: str | Path) -> object:
        if Path(folder).name == "going":
            Path(folder).rmdir()
        return scan(folder)

    (tmp_path / "going").mkdir()
    (tmp_path / "stays").write_bytes(b"12345")
    monkeypatch.setattr(os, "scandir", scan_and_remove)
    assert clients._size(tmp_path) == 5
