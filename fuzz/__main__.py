"""`python -m fuzz` runs every target in turn, each in a process of its own; `python -m fuzz NAME` one of them.

`--runs N` is how many inputs each is given; the seed is fixed, so a bounded run is the same every time. What makes a target
fail is left beside you as `crash-…`, and `python -m fuzz NAME crash-…` shows it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import atheris

from fuzz import targets

NAMES = "addresses captions containers gguf instructions keys messages realtime safetensors sentences".split()


def main() -> int:
    """The number of targets that failed."""
    asked = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    asked.add_argument("name", nargs="?", choices=NAMES)
    asked.add_argument("input", nargs="*")
    asked.add_argument("--runs", type=int, default=100_000)
    chosen = asked.parse_args()
    if chosen.name:
        target = getattr(targets, chosen.name)
        with atheris.instrument_imports(include=["serval"]):
            target(b"")
        options = [sys.argv[0], "-seed=1", f"-runs={chosen.runs}", "-max_len=2048", "-timeout=20", "-verbosity=0"]
        atheris.Setup([*options, *chosen.input], target)
        atheris.Fuzz()
        return 0
    failed = 0
    for name in NAMES:
        done = subprocess.run([sys.executable, "-m", "fuzz", name, "--runs", str(chosen.runs)], capture_output=True, text=True)
        failed += done.returncode != 0
        print(f"{name:<14}{'failed' if done.returncode else f'{chosen.runs} inputs'}", flush=True)
        if done.returncode:
            print(done.stderr[-3000:])
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
