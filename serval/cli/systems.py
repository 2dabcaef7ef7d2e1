"""`serval systems`: the published systems that are built here."""

from __future__ import annotations

from typing import Annotated

import typer


def systems(
    slug: Annotated[str | None, typer.Argument(help="One of them, for its parts and its measured table.")] = None,
) -> None:
    """List the systems, or show one: its paper, its sizes with their parameters, and what the arena found.

    Examples:

        serval systems

        serval systems lion-fs

        serval train lion-fs --dry-run size=llama-3-8b
    """
    from rich.console import Console

    from serval.arena.report import show_system, show_systems

    console = Console()
    if slug is None:
        show_systems(console)
    else:
        show_system(slug, console)
