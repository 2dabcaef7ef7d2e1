"""What a measurement gives back, and how it is shown and kept: Rich in the terminal, Markdown and JSON in docs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """One table. Numbers are given as numbers, with their unit in the column's name; text is shown as it is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""  # under the table: what the figures mean, how noisy they are

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {len(row)} cells under {len(self.columns)} columns")


@dataclass(frozen=True)
class Target:
    """A promise and what was measured: ``measured`` must be at most ``limit``, or at least it with ``at_least``."""

    name: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True)
class Result:
    """Everything a measurement found.

    Attributes:
        method: how it was measured, in a few plain sentences.
        data: samples and whatever else a program may want, as JSON values.
    """

    tables: tuple[Table, ...]
    method: str
    targets: tuple[Target, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """What it was measured with, and when."""

    command: str
    date: str
    seconds: float
    machine: dict[str, Cell]
    versions: dict[str, str]


def targets_table(targets: tuple[Target, ...]) -> Table:
    rows = tuple(
        (
            each.name,
            f"{shown(each.measured)} {each.unit}".rstrip(),
            f"{'≥' if each.at_least else '≤'} {shown(each.limit)} {each.unit}".rstrip(),
            "met" if each.met else "missed",
        )
        for each in targets
    )
    return Table("Targets", ("target", "measured", "limit", ""), rows)


def show(result: Result, console: Console) -> None:
    """Print every table."""
    for table in _all(result):
        drawn = RichTable(
            title=escape(table.title), title_justify="left", caption=escape(table.note) or None, caption_justify="left"
        )
        for place, column in enumerate(table.columns):
            drawn.add_column(escape(column), justify="left" if _is_text(table, place) else "right", overflow="fold")
        for row in table.rows:
            drawn.add_row(*(escape(shown(cell)) for cell in row))
        console.print(drawn)


def keep(name: str, about: str, result: Result, conditions: Conditions, folder: Path) -> tuple[Path, Path]:
    """Write ``<name>.md`` and ``<name>.json`` to ``folder``; what was there is replaced only by whole files."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "name": name,
        "about": about,
        **asdict(conditions),
        "method": result.method,
        "targets": [{**asdict(each), "met": each.met} for each in result.targets],
        "tables": [asdict(table) for table in result.tables],
        "data": result.data,
    }
    written = (folder / f"{name}.md", folder / f"{name}.json")
    for path, text in zip(
        written, (markdown(about, result, conditions), json.dumps(body, indent=1, ensure_ascii=False) + "\n"), strict=True
    ):
        part = path.with_name(path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    return written


def markdown(about: str, result: Result, conditions: Conditions) -> str:
    """The page that docs/ keeps of a measurement."""
    machine = ", ".join(f"{name} {shown(value)}" for name, value in conditions.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in conditions.versions.items())
    parts = [f"# {about}", result.method, *map(_markdown_table, _all(result))]
    parts.append(f"Measured {conditions.date} in {conditions.seconds:.0f} s by `{conditions.command}`.")
    parts += [f"Machine: {machine}.", f"Versions: {versions}."]
    return "\n\n".join(parts) + "\n"


def shown(cell: Cell) -> str:
    """A cell as people read it: three digits that count, and no more."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        if cell != cell or cell in (float("inf"), float("-inf")):
            return "–"
        size = abs(cell)
        return (
            f"{cell:,.0f}"
            if size >= 100
            else f"{cell:.1f}"
            if size >= 10
            else f"{cell:.2f}"
            if size >= 0.095 or size == 0
            else f"{cell:.2g}"
        )
    return f"{cell:,}" if isinstance(cell, int) else cell


def _all(result: Result) -> tuple[Table, ...]:
    return (*((targets_table(result.targets),) if result.targets else ()), *result.tables)


def _is_text(table: Table, place: int) -> bool:
    return any(isinstance(row[place], str) for row in table.rows)


def _markdown_table(table: Table) -> str:
    lines = [
        "| " + " | ".join(map(_cell, table.columns)) + " |",
        "|" + "|".join(" :-- " if _is_text(table, place) else " --: " for place in range(len(table.columns))) + "|",
        *("| " + " | ".join(_cell(shown(cell)) for cell in row) + " |" for row in table.rows),
    ]
    return f"## {table.title}\n\n" + "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
