"""``python -m benchmarks [NAME…] [--quick]``: run the measurements and keep their tables in docs/benchmarks.

A measurement is a module of this package with

    NAME: str                               by which it is called here and in docs/benchmarks
    ABOUT: str                              one line, the title of its page
    def run(quick: bool) -> Result: ...     see benchmarks/table.py

Anything else in the package is left alone. Heavy imports belong inside ``run``: every module is imported to be found.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import cast

from rich.console import Console

import benchmarks
from benchmarks.table import Cell, Conditions, Result, keep, show

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "benchmarks"
_PACKAGES = ("numpy", "av", "torch", "onnxruntime", "opencv-python-headless", "sqlalchemy")


def discover(package: ModuleType = benchmarks) -> dict[str, ModuleType]:
    """The measurements in ``package``, by name, in alphabetical order."""
    found: dict[str, ModuleType] = {}
    for each in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if each.name.endswith(".__main__"):
            continue
        module = importlib.import_module(each.name)
        if all(hasattr(module, part) for part in ("NAME", "ABOUT", "run")):
            if module.NAME in found:
                raise ValueError(f"{module.__name__} and {found[module.NAME].__name__} are both called {module.NAME}")
            found[module.NAME] = module
    return dict(sorted(found.items()))


def machine() -> dict[str, Cell]:
    import psutil

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    known = {"serval": _commit(), "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def measure(module: ModuleType, quick: bool, folder: Path, console: Console) -> Result:
    """Run one measurement and show it; keep it too unless it is a quick one, whose figures are no figures."""
    console.rule(f"{module.NAME}: {module.ABOUT}", align="left")
    on, of = machine(), versions()
    date, began = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"), time.monotonic()
    result = cast("Result", module.run(quick))
    seconds = time.monotonic() - began
    show(result, console)
    if quick:
        console.print(f"{seconds:.0f} s; a quick run is not kept")
    else:
        command = f"python -m benchmarks {module.NAME}"
        page, _ = keep(module.NAME, module.ABOUT, result, Conditions(command, date, seconds, on, of), folder)
        console.print(f"{seconds:.0f} s; kept in {page}")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every measurement ran, 1 when one broke, 2 when a name is unknown. A missed target is a finding, not a failure."""
    found = discover()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all without one; {', '.join(found)}")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works; nothing is kept")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in found]:
        parser.error(f"no measurement is called {', '.join(unknown)}; there are {', '.join(found)}")
    names = asked.names or list(found)
    if len(names) == 1:
        measure(found[names[0]], asked.quick, KEPT, Console())
        return 0
    # One process each: what one loaded and left in memory is no part of the next one's figures.
    flags = ["--quick"] if asked.quick else []
    broken = [
        name for name in names if subprocess.run([sys.executable, "-m", "benchmarks", name, *flags], check=False).returncode
    ]
    if broken:
        Console(stderr=True).print(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
