"""A recipe run from its first stage to its last, in a folder, with checkpoints that it goes on from to the bit."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from serval.refusal import Refusal
from serval.training.batches import Batches, dealt
from serval.training.checkpoint import checkpoints, clean, fill, read_note, read_tensors, write_checkpoint, write_file, writing
from serval.training.distributed import accelerator_for, collected
from serval.training.log import Bar, RunLog, bars
from serval.training.loop import StageLoop, Tensors
from serval.training.prepared import buffers_that_change, prepared
from serval.training.randomness import random_state, seed_all, set_random_state
from serval.training.recipe import Recipe
from serval.training.stage import Stage

if TYPE_CHECKING:
    from serval.training.distributed import Accelerator

WEIGHTS = "weights"
_COMPARED = 64  # numbers of each tensor, when a run is taken up again
_SAME = "trains steps epochs mixture batch accumulation schedule warmup precision ema clip betas".split()


class Trainer:
    """Trains what a recipe says in a folder: ``checkpoints/``, ``log.jsonl``, and in the end ``weights.safetensors`` with all
    that was learnt, in float32 where the last stage had masters (`checkpoint.load_weights`).

    A run that was killed at any moment and goes on has, bit for bit, the losses and weights of one that was not, on the same
    machine with as many processes and threads.

    Args:
        accelerator: where to compute; see `distributed.accelerator_for`.
        save_every: steps between two checkpoints; there is one at the end of each stage, too.
        keep: how many checkpoints stay.
        console: where bars are shown, if it is a terminal.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        accelerator: Accelerator | None = None,
        save_every: int = 200,
        keep: int = 2,
        console: Console | None = None,
    ) -> None:
        if save_every < 1 or keep < 1:
            raise Refusal("checkpoints", f"one every {save_every} steps, {keep} to be kept", "give 1 or more")
        self.recipe, self.folder, self.save_every, self.keep = recipe, folder, save_every, keep
        self.accelerator = accelerator_for(recipe.stages) if accelerator is None else accelerator
        self._console, self._places = console, folder / "checkpoints"
        self._learnt: list[str] = []  # names of the parameters and buffers that any stage so far has changed
        self._total = 0  # steps of the stages before
        self.sharded = self.accelerator.distributed_type == "FSDP"

    def run(self, *, resume: bool = False) -> nn.Module:
        """The trained model, frozen and evaluated. With ``resume`` from the last checkpoint, if there is one.

        Raises:
            Refusal: the folder holds a run and ``resume`` was not asked for, or it is of something else; a loss or gradient
                that is not finite; data that end too early; a full disk; a pattern that fits nothing.
        """
        self.check_folder(resume=resume)
        place = next(reversed(checkpoints(self._places)), None)
        note = {"stage": 0, "step": 0, "log": 0, "total": 0} if place is None else read_note(place)
        with _deterministic():
            model, log = self._build(place), None
            try:
                if self.accelerator.is_main_process:
                    with writing(str(self.folder)):
                        self.folder.mkdir(parents=True, exist_ok=True)
                    log = RunLog(self.folder, note["log"], note["total"] + note["step"])
                with bars(self._console if log else None) as progress:
                    for index in range(note["stage"], len(self.recipe.stages)):
                        mid = place if index == note["stage"] and note["step"] else None
                        self._stage(model, index, mid, log, progress)
                        if self.sharded:  # the next stage begins with a model in one piece
                            model = self._build(checkpoints(self._places)[-1])
            finally:
                if log:
                    log.close()
            if log:
                write_file(self.folder / f"{WEIGHTS}.safetensors", read_tensors(checkpoints(self._places)[-1], WEIGHTS))
                if self.recipe.save is not None:
                    self.recipe.save(model, self.folder)
        return model

    def check_folder(self, *, resume: bool) -> None:
        """Raises `Refusal` where there is a run that should not be gone on with."""
        if checkpoints(self._places) and not resume:
            raise Refusal(str(self.folder), "it holds a run", "go on with --resume, or give another folder")

    def _build(self, place: Path | None) -> nn.Module:
        """The model as it is at first, or with what it had learnt at a checkpoint."""
        seed_all(self.recipe.seed)
        model = self.recipe.model(self.accelerator.device).to(self.accelerator.device)
        self._built = _fingerprint(model)
        if place is not None:
            note = read_note(place)
            self._check(note, place)
            for stage in self.recipe.stages[: note["stage"]]:
                with prepared(model, stage):  # for what it leaves behind: the precision of weights
                    pass
            self._learnt, self._total = list(note["learnt"]), note["total"]
            fill(model, read_tensors(place, WEIGHTS), f"checkpoint {place.name}")
        return model

    def _stage(self, model: nn.Module, index: int, mid: Path | None, log: RunLog | None, progress: Progress) -> None:
        """One stage, from its beginning or from a checkpoint in the middle of it."""
        stage, first = self.recipe.stages[index], 0
        seed_all(self.recipe.seed, index)  # whatever was drawn before
        data = self.recipe.data[stage.mixture](stage)
        steps = self._steps(stage, data)
        with prepared(model, stage, masters=not self.sharded) as ready:
            self._learnt += [each for each in (*ready.parameters, *buffers_that_change(model)) if each not in self._learnt]
            process, processes = self.accelerator.process_index, self.accelerator.num_processes
            if mid is not None:
                first = read_note(mid)["step"]
            batches = dealt(data, first * stage.accumulation, process, processes)
            loop = StageLoop(self.accelerator, model, stage, ready, batches, steps)
            if mid is None:
                seed_all(self.recipe.seed, index, process)
            else:
                loop.restore(*(read_tensors(mid, name) for name in (WEIGHTS, "optimizer", "ema")))
                drawn = {name: each[process] for name, each in read_tensors(mid, "random").items()}
                set_random_state(drawn, self.accelerator.device)
            bar = Bar(progress, stage.name, first, steps)
            for step in range(first, steps):
                said = loop.take(step)
                bar.step(said["loss"])
                if log:
                    log.write(self._total + step + 1, said)
                if (step + 1) % self.save_every == 0 and step + 1 < steps:
                    self._save(model, loop, index, step + 1, log)
            loop.finish()
            self._total += steps
            self._save(model, loop, index + 1, 0, log)

    def _save(self, model: nn.Module, loop: StageLoop, stage: int, step: int, log: RunLog | None) -> None:
        """A checkpoint of a run that is about to take ``step`` of ``stage``."""
        learning = loop.parameters
        weights = {name: learning[name] if name in learning else _tensor(model, name) for name in self._learnt}
        files: dict[str, Tensors] = {WEIGHTS: collected(self.accelerator, weights)}
        if step:
            device = self.accelerator.device
            drawn = {name: each[None].to(device) for name, each in random_state(device).items()}
            files |= loop.state() | {"random": {name: self.accelerator.gather(each) for name, each in drawn.items()}}
        if log:
            note = {
                "stage": stage,
                "step": step,
                "of": loop.steps,
                "data": step * loop.stage.accumulation,  # batches that each process has taken
                "total": self._total,
                "learnt": self._learnt,
                "log": log.position(),
                "processes": self.accelerator.num_processes,
                "built": self._built,
                "stages": [_numbers(each) for each in self.recipe.stages],
                "torch": torch.__version__,
            }
            write_checkpoint(self._places / f"{stage:02}-{step:08}", files, note)
            clean(self._places, self.keep)
        self.accelerator.wait_for_everyone()

    def _steps(self, stage: Stage, data: Batches) -> int:
        if stage.steps is not None:
            return stage.steps
        assert stage.epochs is not None
        try:
            epoch = len(data)  # type: ignore[arg-type]
        except TypeError:
            raise stage.refusal(f"its data, {stage.mixture}, do not say how long an epoch is", "give steps") from None
        return max(1, math.ceil(stage.epochs * epoch / (stage.accumulation * self.accelerator.num_processes)))

    def _check(self, note: Mapping[str, Any], place: Path) -> None:
        """Raises `Refusal` where the run at ``place`` is not of this recipe here."""
        other = []
        if note["processes"] != self.accelerator.num_processes:
            other.append(f"it has {note['processes']} processes, not {self.accelerator.num_processes}")
        for theirs, stage in zip(note["stages"], self.recipe.stages, strict=False):
            mine = _numbers(stage)
            wrong = [name for name in _SAME if theirs[name] != mine[name]]
            other += [f"{name} of stage {stage.name} was {theirs[name]} and is {mine[name]}" for name in wrong]
        if len(note["stages"]) != len(self.recipe.stages):
            other.append(f"it has {len(note['stages'])} stages, not {len(self.recipe.stages)}")
        if note["built"] != self._built:
            other.append("the model it began with is another one")
        if other:
            remedy = "give what it began with, or begin another run"
            raise Refusal(f"the run in {self.folder}", "; ".join(other[:3]), remedy)


def _tensor(model: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its name, as a module has it."""
    parent, _, own = name.rpartition(".")
    return getattr(model.get_submodule(parent), own)


def _numbers(stage: Stage) -> dict[str, Any]:
    """All of a stage that a run's numbers depend on and JSON can hold."""
    made = {name: getattr(stage, name) for name in _SAME}
    rates = {name: rate and [rate.learning_rate, rate.weight_decay] for name, rate in stage.trains.items()}
    return {"name": stage.name} | made | {"trains": rates, "betas": list(stage.betas)}


def _fingerprint(model: nn.Module) -> str:
    """A hash of a few numbers of every parameter: other weights on the disk are noticed, without reading all of them."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        some = flat[:: max(1, len(flat) // _COMPARED)][:_COMPARED]
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode() + some.double().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _deterministic() -> Iterator[None]:
    """PyTorch takes the way that gives the same numbers every time, where there is one, and warns where there is none."""
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # it costs time, and nothing here reads what nothing wrote
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled
