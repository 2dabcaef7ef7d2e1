"""What `serval train` does: a recipe found, told its options, and run in a folder that remembers both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from serval.refusal import Refusal
from serval.training.options import options_from, typed
from serval.training.recipe import Recipe
from serval.training.recipes import find_recipe

if TYPE_CHECKING:
    from serval.training.distributed import Accelerator

RUN = "run.json"


@dataclass(frozen=True)
class RunRequest:
    """What a person asked for on the command line."""

    recipe: str
    options: tuple[str, ...] = ()
    out: Path | None = None
    resume: bool = False
    save_every: int = 200
    keep: int = 2
    device: str | None = None
    shard: bool = False


def show_recipe(where: str, words: Sequence[str], console: Console) -> None:
    """Print the stages of a recipe with what they train and take. No weights are read. Raises `Refusal` as `run_recipe`."""
    from serval.training.table import show_stages

    recipe = _made(find_recipe(where), options_from(words))
    show_stages(recipe.empty_model(), recipe.stages, console)


def run_recipe(request: RunRequest, console: Console) -> Path | None:
    """Train, and return the run's folder; None in processes other than the main one.

    Raises:
        Refusal: no such recipe or option, another recipe or options than the run began with, or as `Trainer.run`.
    """
    function, given = find_recipe(request.recipe), options_from(request.options)
    if request.resume:
        if request.out is None:
            raise Refusal("--resume", "it does not say which run", "give its folder with --out")
        given = _remembered(request.out, request.recipe, given)
    recipe = _made(function, given)

    from serval.training.distributed import accelerator_for
    from serval.training.trainer import Trainer

    accelerator = accelerator_for(recipe.stages, request.device, shard=request.shard)
    main = accelerator.is_main_process
    folder = request.out or _fresh(accelerator, Path(request.recipe).stem)
    try:
        trainer = Trainer(
            recipe, folder, accelerator=accelerator, save_every=request.save_every, keep=request.keep, console=console
        )
        if main:
            trainer.check_folder(resume=request.resume)
            _remember(folder, request.recipe, given)
            board = "" if find_spec("tensorboard") else " (TensorBoard is not installed: no event files)"
            console.print(f"Training in {folder}; losses are in {folder / 'log.jsonl'}{board}", soft_wrap=True, highlight=False)
        trainer.run(resume=request.resume)
        return folder if main else None
    except KeyboardInterrupt:
        if main:
            console.print(f"Stopped. Go on with: serval train {request.recipe} --out {folder} --resume", soft_wrap=True)
        raise
    finally:
        accelerator.end_training()


def _made(function: Callable[..., Recipe], given: Mapping[str, str]) -> Recipe:
    recipe = function(**typed(function, given))
    if not isinstance(recipe, Recipe):
        raise Refusal("the recipe", f"recipe(…) returned a {type(recipe).__name__}", "return a serval.training.recipe.Recipe")
    return recipe


def _fresh(accelerator: Accelerator, name: str) -> Path:
    """``runs/NAME-TIME``, the same in every process."""
    from serval.training.distributed import agreed

    now = agreed(accelerator, int(time.time()))
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"


def _remember(folder: Path, recipe: str, given: Mapping[str, str]) -> None:
    from serval.training.checkpoint import writing

    with writing(RUN):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN).write_text(json.dumps({"recipe": recipe, "options": given}, indent=1) + "\n", "utf-8")


def _remembered(folder: Path, recipe: str, given: Mapping[str, str]) -> dict[str, str]:
    """The options that the run in ``folder`` began with. Raises `Refusal` where these are others."""
    try:
        run: dict[str, Any] = json.loads((folder / RUN).read_bytes())
        began, options = str(run["recipe"]), {str(key): str(value) for key, value in run["options"].items()}
    except FileNotFoundError:
        raise Refusal(str(folder), "there is no run in it", "leave --resume out, or check the folder") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise Refusal(f"{folder / RUN}", "it is damaged", 'write {"recipe": …, "options": {…}} again') from None
    wrong = {key: value for key, value in given.items() if options.get(key) != value}
    other = [f"{key} was {options.get(key, 'not given')} and is {value}" for key, value in wrong.items()]
    if began != recipe:
        other.insert(0, f"it is of {began}")
    if other:
        raise Refusal(f"the run in {folder}", "; ".join(other), "give what it began with, or nothing, or begin another run")
    return options
