"""The packages' own clients, used for nothing but fetching an archive: nothing is installed, imported or run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from serval.refusal import Refusal
from serval.weights.manifest import Part

_NETWORK = "check the network and run it again; what is already there stays"
_TIMEOUT = 3600.0  # seconds; a stalled client must not hold the terminal for ever
_POLL = 0.2


def download(part: Part, folder: Path, progress: Callable[[int], None] = lambda done: None) -> Path:
    """Fetch the part's archive into ``folder`` and return its path. ``progress`` is told how many bytes there are so far.

    Raises:
        Refusal: the client is missing, or could not get it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fetch = {"pip": _pip, "npm": _npm, "apt": _apt}[part.client]
    before = set(folder.iterdir())
    fetch(part, folder, progress)
    new = [path for path in set(folder.iterdir()) - before if path.suffix in {".whl", ".tgz", ".deb"}]
    if len(new) != 1:
        raise Refusal(f"part {part.name}", f"{part.client} brought {len(new)} archives where one was asked for", _NETWORK)
    return new[0]


def _pip(part: Part, folder: Path, progress: Callable[[int], None]) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", *part.pip, "--dest", str(folder), f"{part.package}=={part.version}"]
    _run(part, "pip", command, folder, progress)


def _npm(part: Part, folder: Path, progress: Callable[[int], None]) -> None:
    npm = _client(part, "npm", "install Node.js (on Debian: apt-get install npm)")
    command = [npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", str(folder), f"{part.package}@{part.version}"]
    _run(part, "npm", command, folder, progress)


def _apt(part: Part, folder: Path, progress: Callable[[int], None]) -> None:
    apt = _client(part, "apt-get", "it exists on Debian and its kin alone")
    _client(part, "dpkg-deb", "it exists on Debian and its kin alone")
    if os.geteuid() == 0:  # a fresh machine has no list of packages yet, and only root may fetch it
        if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
            _run(part, "apt-get", [apt, "update", "-qq"], folder, progress)
        _run(part, "apt-get", [apt, "download", "-qq", f"{part.package}={part.version}"], folder, progress)
    else:
        remedy = "run apt-get update once as root if the list of packages is empty"
        _run(part, "apt-get", [apt, "download", "-qq", f"{part.package}={part.version}"], folder, progress, remedy)


def _client(part: Part, name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Refusal(f"part {part.name}", f"it comes by {name}, which is not on this machine", remedy)
    return found


def _run(
    part: Part, name: str, command: list[str], folder: Path, progress: Callable[[int], None], remedy: str = _NETWORK
) -> None:
    """Run a client with its output held back; its words may carry addresses and secrets, so they are never shown."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    try:
        client = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"TMPDIR": str(work), "PIP_NO_INPUT": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        raise Refusal(f"part {part.name}", f"{name} cannot be started", remedy) from None
    try:
        waited = 0.0
        while waited < _TIMEOUT:
            try:
                if client.wait(_POLL):
                    raise Refusal(f"part {part.name}", f"{name} could not fetch {part.package} {part.version}", remedy)
                return
            except subprocess.TimeoutExpired:
                waited += _POLL
                progress(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
        raise Refusal(f"part {part.name}", f"{name} did not finish within an hour", remedy)
    except FileNotFoundError:  # a temporary file went while it was measured
        if client.wait():
            raise Refusal(f"part {part.name}", f"{name} could not fetch {part.package} {part.version}", remedy) from None
    finally:
        if client.poll() is None:
            client.kill()
            client.wait()
        shutil.rmtree(work, ignore_errors=True)
