"""`serval weights`: the pretrained parts on this machine."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from serval.refusal import Refusal
from serval.weights.cache import broken, cache_folder, hub_parts, installed
from serval.weights.install import fetch
from serval.weights.manifest import Part, manifest, part_named

app = typer.Typer(no_args_is_help=True, help="Pretrained parts: list them, fetch them, verify them.")
_INDENT = 30  # columns before what is said about a part
_STATES = {"here": "green", "missing": "yellow", "optional": None}


@app.command("list")
def list_parts() -> None:
    """Show every part: what it is, where it comes from, its licence, and whether it is here.

    Example: serval weights list
    """
    width = max(60, min(shutil.get_terminal_size().columns, 120))
    typer.echo(f"{'part':<12}{'state':<10}{'size':>6}  what it is")
    for part in [*manifest().values(), *map(part_named, hub_parts())]:
        state = "here" if installed(part) is not None else "missing" if part.default else "optional"
        size = f"{part.archive_bytes / 1e6:.0f} MB" if part.archive_bytes else ""
        about, *more = _lines(part, width - _INDENT)
        name = f"{part.name:<12}" if len(part.name) < 12 else f"{part.name}\n{'':<12}"  # a hub model's
        typer.echo(f"{name}{typer.style(f'{state:<10}', fg=_STATES[state])}{size:>6}  {about}")
        for line in more:
            typer.echo(" " * _INDENT + line)
    typer.echo(f"Cache: {cache_folder() / 'weights'}")


def _lines(part: Part, width: int) -> list[str]:
    """What the part is, then its origin and licence; a line breaks between words of the first and pieces of the second."""
    version = part.version[:12] if part.client == "hub" else part.version
    pieces = [f"{part.client} {part.package} {version} ·", part.licence]
    origin = " ".join(piece.replace(" ", "\N{NO-BREAK SPACE}") for piece in pieces)
    wrapped = [textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) for text in (part.about, origin)]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for lines in wrapped for line in lines]


@app.command("fetch")
def fetch_parts(
    parts: Annotated[
        list[str] | None, typer.Argument(help="Names of parts, or hub:OWNER/NAME@REVISION. All default ones if none.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The optional ones too.")] = False,
) -> None:
    """Bring parts into the cache. What is there already is not fetched again; what cannot be had does not stop the rest.

    A part that is named is hashed first, and mended if it is damaged.

    Examples: serval weights fetch / serval weights fetch --all / serval weights fetch opencv-doc
    """
    names = list(dict.fromkeys(parts or [part.name for part in manifest().values() if part.default or everything]))
    missing = [name for name in names if broken(part_named(name), quick=not parts)]
    if not missing:
        typer.echo("All the parts asked for are here.", err=True)
        return
    failed = _fetch_all(missing)
    for name, refusal in failed.items():
        typer.echo(f"serval: {refusal}", err=True)
        typer.echo(f"        off until then: {part_named(name).ability}", err=True)
    if failed:
        raise typer.Exit(1)


def _fetch_all(names: list[str]) -> dict[str, Refusal]:
    """Fetch one after the other; what could not be had, and why."""
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.fields[name]:<12}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    failed: dict[str, Refusal] = {}
    plain = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=plain) as bars:
        for name in names:
            part = part_named(name)
            size = f"{part.archive_bytes / 1e6:.0f} MB " if part.archive_bytes else ""
            if plain:
                typer.echo(f"{part.name}: fetching {size}by {part.client}", err=True)
            task = bars.add_task("waiting", name=part.name, total=part.archive_bytes or None)
            try:
                fetch(name, _reporter(bars, task, part))
                bars.update(task, description="[green]here", completed=part.archive_bytes or 1, total=part.archive_bytes or 1)
            except Refusal as refusal:
                failed[name] = refusal
                bars.update(task, description="[red]not fetched")
                bars.stop_task(task)
            if plain:
                typer.echo(f"{part.name}: " + ("not fetched" if name in failed else "here"), err=True)
    return failed


def _reporter(bars: Progress, task: TaskID, part: Part) -> Callable[[str, int], None]:
    def report(stage: str, done: int) -> None:
        bars.update(task, description=stage, completed=min(done, part.archive_bytes or done))

    return report


@app.command("verify")
def verify() -> None:
    """Hash every file of every part that is here.

    Example: serval weights verify
    """
    names = [name for name in [*manifest(), *hub_parts()] if installed(part_named(name)) is not None]
    damaged = 0
    for name in names:
        wrong = broken(part_named(name))
        damaged += bool(wrong)
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        typer.echo(f"{name}: " + (f"damaged ({shown}); run: serval weights fetch {name}" if wrong else "whole"))
    if not names:
        typer.echo("No part is here; run: serval weights fetch")
    if damaged:
        raise typer.Exit(1)
