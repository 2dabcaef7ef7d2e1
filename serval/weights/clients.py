"""The packages' own clients, used for nothing but fetching an archive: nothing is installed, imported or run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from serval.refusal import Refusal
from serval.weights.manifest import Part

_NETWORK = "check the network and run it again; what is already there stays"
_TIMEOUT = 3600.0  # seconds; a stalled client must not hold the terminal for ever
_POLL = 0.2


def download(part: Part, folder: Path, progress: Callable[[int], None] = lambda done: None) -> Path:
    """Fetch the part's archive into ``folder`` and return its path. ``progress`` is told how many bytes there are so far.

    The client works in a folder of its own, so that only a whole archive ever comes into ``folder``.

    Raises:
        Refusal: the client is missing, or could not get it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fetch = {"pip": _pip, "npm": _npm, "apt": _apt}[part.client]
    with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as work:
        (Path(work) / "temporary").mkdir()
        fetch(part, Path(work), progress)
        brought = [path for path in Path(work).iterdir() if path.suffix in {".whl", ".tgz", ".deb"}]
        if len(brought) != 1:
            raise Refusal(
                f"part {part.name}", f"{part.client} brought {len(brought)} archives where one was asked for", _NETWORK
            )
        return brought[0].replace(folder / brought[0].name)


def _pip(part: Part, folder: Path, progress: Callable[[int], None]) -> None:
    if find_spec("pip") is None:
        raise Refusal(f"part {part.name}", "it comes by pip, which this Python does not have", "run: python -m ensurepip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", *part.pip, "--dest", str(folder), f"{part.package}=={part.version}"]
    _run(part, "pip", command, folder, progress)


def _npm(part: Part, folder: Path, progress: Callable[[int], None]) -> None:
    npm = _client(part, "npm", "install Node.js (on Debian: apt-get install npm)")
    command = [npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", str(folder), f"{part.package}@{part.version}"]
    _run(part, "npm", command, folder, progress)


def _apt(part: Part, folder: Path, progress: Callable[[int], None]) -> None:
    apt = _client(part, "apt-get", "it exists on Debian and its kin alone")
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
    # a newer pip goes on where a broken connection stopped; an older one does not know the setting
    environment = {"PIP_RESUME_RETRIES": "5"} | os.environ | {"TMPDIR": str(folder / "temporary"), "PIP_NO_INPUT": "1"}
    hidden = subprocess.DEVNULL
    try:
        client = subprocess.Popen(command, cwd=folder, env=environment, stdin=hidden, stdout=hidden, stderr=hidden)
    except OSError:
        raise Refusal(f"part {part.name}", f"{name} cannot be started", remedy) from None
    try:
        started = time.monotonic()
        while (code := _code(client)) is None:
            if time.monotonic() - started > _TIMEOUT:
                raise Refusal(f"part {part.name}", f"{name} did not finish within an hour", remedy)
            progress(_size(folder))
        if code:
            raise Refusal(f"part {part.name}", f"{name} could not fetch {part.package} {part.version}", remedy)
    finally:
        client.kill()
        client.wait()


def _code(client: subprocess.Popen[bytes]) -> int | None:
    try:
        return client.wait(_POLL)
    except subprocess.TimeoutExpired:
        return None


def _size(folder: Path) -> int:
    """Bytes in a folder whose files and folders come and go meanwhile (which `os.walk` bears and `Path.rglob` does not)."""
    size = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += Path(where, name).stat().st_size
    return size
