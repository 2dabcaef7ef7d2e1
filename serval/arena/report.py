"""What `serval systems` and `serval arena` show."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from serval.arena.experiment import find_experiment, modules, run_experiment, save_result
from serval.arena.table import page, result_table, verdict_lines
from serval.systems.system import find_system
from serval.systems.system import modules as systems

KEPT = Path(__file__).resolve().parents[2] / "docs" / "arena"
"""Where results are kept, in a checkout."""


def show_systems(console: Console) -> None:
    """A line for each."""
    table = Table(title="Systems", title_justify="left", caption="More of one: serval systems SLUG", caption_justify="left")
    for head in ("slug", "idea", "its check", "measured"):
        table.add_column(head, no_wrap=head in ("slug", "its check"))
    for slug in systems():
        kept = KEPT / f"{slug}.md"
        measured = str(kept.relative_to(KEPT.parents[1])) if kept.exists() else f"serval arena {slug}"
        table.add_row(slug, escape(find_system(slug).idea), _verdict(slug), measured)
    console.print(table)


def show_system(slug: str, console: Console) -> None:
    """Its paper, what its file says, its sizes, and the verdict. Raises `Refusal` for an unknown one."""
    import importlib

    system = find_system(slug)
    console.print(f"[bold]{escape(system.name)}[/bold]\n{escape(system.paper)}\n")
    told = (importlib.import_module(systems()[slug.replace("_", "-")]).__doc__ or "").strip()
    console.print(told, markup=False, highlight=False)
    table = Table(title="Sizes", title_justify="left")
    table.add_column("size")
    table.add_column("parameters", justify="right")
    for size in system.sizes:
        table.add_row(size, f"{sum(each.numel() for each in system.empty(size).parameters()):,}")
    console.print(table)
    console.print(f"Its check: {_verdict(slug)}. Again: serval arena {slug}", highlight=False)


def show_experiments(slug: str, seeds: int, *, quick: bool, processes: int, out: Path | None, console: Console) -> None:
    """Run one experiment, or all of them, and print each as it ends. Raises `Refusal` for an unknown one."""
    experiments = [find_experiment(each) for each in (modules() if slug == "all" else [slug])]
    for experiment in experiments:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(experiment.slug, total=seeds * len(experiment.arms))

            def done(arm: str, seed: int, task: TaskID = task, slug: str = experiment.slug, bar: Progress = progress) -> None:
                bar.update(task, advance=1, description=f"{slug}: {arm}, seed {seed}")

            result = run_experiment(experiment, seeds, quick=quick, processes=processes, done=done)
        console.print(result_table(experiment, result))
        for line in verdict_lines(experiment, result):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(f"{result.command}: {result.seconds:.0f} s\n", highlight=False)
        if out is not None:
            save_result(result, out / f"{experiment.slug}.json")
            (out / f"{experiment.slug}.md").write_text(page(experiment, result), "utf-8")


@cache
def _verdict(slug: str) -> str:
    """The kept result's."""
    try:
        verdicts = json.loads((KEPT / f"{slug}.json").read_bytes())["verdicts"].values()
        return f"{sum(each == 'holds' for each in verdicts)} of {len(verdicts)} claims hold"
    except (OSError, ValueError, KeyError, AttributeError):
        return "not run yet"
