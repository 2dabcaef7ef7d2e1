"""An experiment's result to look at: in a terminal, and as a page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rich.table import Table

from serval.arena.experiment import Experiment, Measure, Result


def shown(values: Sequence[float], measure: Measure) -> str:
    """Mean ± standard deviation over seeds; a dash where nothing was measured."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    spread = f" ± {statistics.stdev(known):.{measure.decimals}f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.{measure.decimals}f}{spread}"


def result_table(experiment: Experiment, result: Result) -> Table:
    """One row for each arm."""
    table = Table(title=f"{experiment.slug}: {experiment.question}", title_justify="left")
    table.add_column("arm", no_wrap=True)
    for measure in experiment.measures:
        table.add_column(_headed(measure), justify="right")
    for arm in experiment.arms:
        table.add_row(arm, *(shown(result.values[arm][measure.name], measure) for measure in experiment.measures))
    return table


def verdict_lines(experiment: Experiment, result: Result) -> list[str]:
    """A line for each claim, with its verdict and the gain of each seed."""
    lines = []
    for claim in experiment.claims:
        gains = ", ".join(f"{gain:+.3g}" for gain in claim.gains(result.values))
        than = claim.than if isinstance(claim.than, str) else f"{claim.than:g}"
        slack = f", with a slack of {claim.slack:g}" if claim.slack else ""
        lines.append(
            f"{result.verdicts[claim.text]}: {claim.text} ({claim.measure}, {claim.better} against {than}{slack}: {gains})"
        )
    return lines


def page(experiment: Experiment, result: Result) -> str:
    """The same in Markdown."""
    heads = ["arm", *map(_headed, experiment.measures)]
    lines = [f"# {experiment.slug}", "", experiment.question, ""]
    lines += [f"`{result.command}`: {len(result.seeds)} seeds, {result.seconds:.0f} s, mean ± standard deviation.", ""]
    lines += ["| " + " | ".join(heads) + " |", "|---" + "|---:" * len(experiment.measures) + "|"]
    for arm in experiment.arms:
        cells = [shown(result.values[arm][measure.name], measure) for measure in experiment.measures]
        lines.append("| " + " | ".join([arm, *cells]) + " |")
    lines += ["", *(f"- **{arm}**: {about}" for arm, about in experiment.arms.items()), "", "## Verdict", ""]
    lines += [f"- **{line.split(':', 1)[0]}**:{line.split(':', 1)[1]}" for line in verdict_lines(experiment, result)]
    return "\n".join(lines) + "\n"


def _headed(measure: Measure) -> str:
    return f"{measure.name}, {measure.unit}" if measure.unit else measure.name
