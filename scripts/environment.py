"""Build the environment that requirements.lock describes, once, outside the clone; print its bin folder as the last line.

The folder is keyed by the lock and the Python version, so every clone with the same lock shares it and a second run
takes a second. Runs under any Python >= 3.11 with nothing installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OLD_PYTHON = f"serval: Python 3.11 or newer is needed and this is {sys.version.split()[0]}; run make with PYTHON=python3.11"
NO_VENV = "serval: this Python cannot make virtual environments; install python3-venv (Debian) or another Python"
NO_PACKAGES = "serval: the packages of requirements.lock could not be installed (see above); check the network and run it again"


def cache_folder() -> Path:
    if chosen := os.environ.get("SERVAL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serval"


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)


def build(folder: Path) -> None:
    print(f"Building the environment in {folder} (once for this lock; about a minute)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)  # whatever an interrupted build left
    try:
        run(sys.executable, "-m", "venv", folder)
    except subprocess.CalledProcessError:
        raise SystemExit(NO_VENV) from None
    try:
        quiet = [] if sys.stderr.isatty() else ["--quiet"]  # a person wants to see it move
        run(folder / "bin/python", "-m", "pip", "install", *quiet, "--no-deps", "-r", LOCK)
    except subprocess.CalledProcessError:
        raise SystemExit(NO_PACKAGES) from None
    (folder / "complete").touch()


def link_here(folder: Path) -> None:
    """Point the environment's `serval` command at this clone."""
    mark = folder / "clone"
    if mark.exists() and mark.read_text() == str(ROOT):
        return
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    mark.write_text(str(ROOT))


def main() -> None:
    if sys.version_info < (3, 11):
        raise SystemExit(OLD_PYTHON)
    key = hashlib.sha256(LOCK.read_bytes() + f"{sys.version_info[:2]}{sys.platform}".encode()).hexdigest()[:16]
    folder = cache_folder() / "environments" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            build(folder)
        link_here(folder)
    print(folder / "bin")


if __name__ == "__main__":
    main()
