"""`serval train`: a recipe, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a Python file that defines recipe(…).")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="What the recipe may be told.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. [runs/RECIPE-TIME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, to the bit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the stages, and what they take; train nothing.")] = False,
    save_every: Annotated[int, typer.Option(help="Steps between two checkpoints.")] = 200,
    keep: Annotated[int, typer.Option(help="How many checkpoints stay.")] = 2,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. [the GPU, if there is one]")] = None,
    shard: Annotated[bool, typer.Option("--shard", help="Spread the model over the GPUs (FSDP2).")] = False,
) -> None:
    """Train a model by a recipe. A run that was killed goes on with --resume as if nothing had happened.

    Several processes: start it with torchrun or accelerate launch.

    Examples:

        serval train smollm2-lora --dry-run

        serval train smollm2-lora data=conversations.jsonl rank=16 --out runs/mine

        serval train smollm2-lora --out runs/mine --resume

        torchrun --nproc-per-node 2 -m serval train my_recipe.py learning_rate=2e-4
    """
    from rich.console import Console

    from serval.training.run import RunRequest, run_recipe, show_recipe

    console = Console(stderr=True)
    if dry_run:
        show_recipe(recipe, options or [], Console())
        return
    request = RunRequest(recipe, tuple(options or ()), out, resume, save_every, keep, device, shard)
    folder = run_recipe(request, console)
    if folder is not None:
        typer.echo(f"Done: {folder}")
