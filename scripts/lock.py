"""Resolve pyproject.toml's ranges anew in a throw-away environment and write what came out to requirements.lock."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ["torch==2.13.0"]  # the newest that has a CPU build everywhere Serval is developed
HEADER = "# Made by `make lock` from pyproject.toml. Every package that an environment holds, pinned.\n"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["postgresql"]]
    wanted += [*project["dependency-groups"]["dev"], "hatchling", "editables"]
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin/python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED, *wanted], check=True)
        frozen = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    lines = [
        line.split("+")[0] for line in frozen.splitlines() if "==" in line
    ]  # a local build's "+cpu" is no version to ask for
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
