"""`serval arena`: each system's smallest honest check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def arena(
    slug: Annotated[str, typer.Argument(help="A system of `serval systems`, or all.")],
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many seeds each arm is run with.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the work, to see that it runs.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many arms train at a time; as many as there are cores.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for SLUG.json and SLUG.md.")] = None,
) -> None:
    """Run a system's method against its baselines, on the same data and budget. Prints the table and a verdict from it.

    Examples:

        serval arena videollm-online

        serval arena all --seeds 5 --out docs/arena
    """
    import os

    from rich.console import Console

    from serval.arena.report import show_experiments

    show_experiments(slug, seeds, quick=quick, processes=processes or len(os.sched_getaffinity(0)), out=out, console=Console())
