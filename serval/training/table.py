"""What a recipe's stages train, and what memory that takes, before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn

from serval.training.parameters import Chosen, chosen, matching_modules
from serval.training.prepared import PRECISIONS
from serval.training.stage import Stage


def show_stages(model: nn.Module, stages: Sequence[Stage], console: Console | None = None) -> None:
    """Print a table of ``stages``; ``model`` may be on the meta device.

    Raises:
        Refusal: see `parameters.chosen` and `parameters.matching_modules`.
    """
    (console or Console()).print(stage_table(model, stages))


def stage_table(model: nn.Module, stages: Sequence[Stage]) -> Table:
    """One row for each stage, and in it one line for each pattern that trains something."""
    everything = sum(each.numel() for each in model.parameters())
    table = Table(
        title=f"{_short(everything)} parameters",
        caption="Memory: weights, and for what learns gradient, moments, master and average. Activations come on top.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("learns")
    table.add_column("from")
    table.add_column("how")
    table.add_column("memory", justify="right", no_wrap=True)
    for stage in stages:
        found = chosen(model, stage)
        matching_modules(model, stage.gradient_checkpointing, stage)
        learns = []
        for pattern, rate in stage.trains.items():
            if rate is not None:
                count = sum(each.parameter.numel() for each in found.values() if each.pattern == pattern)
                decay = f", decay {rate.weight_decay:g}" if rate.weight_decay else ""
                learns.append(f"{pattern}: {_short(count)} at {rate.learning_rate:g}{decay}")
        total = sum(each.parameter.numel() for each in found.values())
        learns.append(f"in all {_short(total)}, {total / everything:.2%}")
        source = f"{stage.mixture}\n{type(stage.objective).__name__}"
        used = _bytes(memory(model, stage, found))
        table.add_row(*map(escape, (stage.name, "\n".join(learns), source, "\n".join(_manner(stage)), used)))
    return table


def memory(model: nn.Module, stage: Stage, found: dict[str, Chosen]) -> int:
    """Bytes of the weights, and for what learns: a gradient and two moments in float32, a float32 master where it is computed
    in bfloat16, and its average where the stage keeps one."""
    precision = None if stage.precision is None else PRECISIONS[stage.precision]
    weights = sum(_size(each, precision) for each in model.parameters()) + sum(_size(each, None) for each in model.buffers())
    learning = [each.parameter for each in found.values()]
    narrow = [each for each in learning if (precision or each.dtype) == torch.bfloat16]
    return weights + _count(learning) * 4 * (3 + (stage.ema is not None)) + _count(narrow) * 4


def _size(tensor: Tensor, precision: torch.dtype | None) -> int:
    dtype = precision if precision is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.numel() * dtype.itemsize


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(each.numel() for each in tensors)


def _manner(stage: Stage) -> list[str]:
    """How a stage learns, a line for each thing that is not left out."""
    long = f"{stage.steps} steps" if stage.steps is not None else f"{stage.epochs:g} epochs"
    many = f" × {stage.accumulation}" if stage.accumulation > 1 else ""
    warm = f"{stage.warmup:.0%}" if stage.warmup < 1 else f"{stage.warmup:g} steps"
    said = [f"{long} of {stage.batch}{many}", stage.schedule + (f", warm-up {warm}" if stage.warmup else "")]
    said += [stage.precision] if stage.precision is not None else []
    said += ["gradient checkpointing"] if stage.gradient_checkpointing else []
    said += [f"average of {stage.ema:g}"] if stage.ema is not None else []
    return said + ([f"clipped at {stage.clip:g}"] if stage.clip is not None else [])


def _short(number: int) -> str:
    for size, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.2f} {name}"
    return str(number)


def _bytes(number: int) -> str:
    return f"{number / 10**9:.2f} GB" if number >= 10**9 else f"{number / 10**6:.1f} MB"
