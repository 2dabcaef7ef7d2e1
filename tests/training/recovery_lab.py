"""Runs that are killed with SIGKILL and go on, alone and in two processes. `python recovery_lab.py FOLDER` tells what came out.

One process imports PyTorch; every run is a fork of it, made before anything was computed.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401 - once for all forks
import torch
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import serval.training.checkpoint as checkpoint
import serval.training.trainer as trainer_module
from serval.training.distributed import accelerator_for
from serval.training.log import RunLog
from serval.training.trainer import Trainer

if __package__:
    from .toy_recipe import recipe
else:
    from toy_recipe import recipe

LIMIT = 60  # seconds; nothing takes one


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing(owner: Any, name: str, call: int, after: bool = False) -> None:
    """Be killed in the ``call``-th call of a function, before it does anything or after all of it."""
    function, calls = getattr(owner, name), [0]

    def counted(*args, **options):
        calls[0] += 1
        if calls[0] == call and not after:
            kill()
        result = function(*args, **options)
        if calls[0] == call:
            kill()
        return result

    setattr(owner, name, counted)


def half_a_line(call: int) -> None:
    """Be killed with half a line of the log on the disk."""
    write, calls = RunLog.write, [0]

    def counted(self, step, entry):
        calls[0] += 1
        if calls[0] == call:
            self._file.write(json.dumps(entry).encode()[:20])
            self._file.flush()
            kill()
        write(self, step, entry)

    RunLog.write = counted


# Checkpoints are made after steps 3 and 6, at the end of the first stage (7), after steps 10 and 13, and at the end. A run that
# goes on counts its calls anew.
KILLS = {
    "while it learns": [
        partial(killing, torch.optim.AdamW, "step", 2),  # before any checkpoint
        partial(killing, torch.optim.AdamW, "step", 5, after=True),  # between the weights and the log, step 5
        partial(half_a_line, 2),  # in the middle of a line of the log, step 5 again
        partial(killing, torch.optim.AdamW, "step", 9),  # in the second stage, step 12
    ],
    "while it saves": [
        partial(killing, checkpoint, "save_file", 6),  # between two files of the second checkpoint
        partial(killing, checkpoint, "_to_disk", 6),  # before that gets its name
        partial(killing, checkpoint, "_to_disk", 7),  # after it got it
        partial(killing, checkpoint.shutil, "rmtree", 1),  # while an old one is removed
    ],
    "where a stage or the run ends": [
        partial(killing, trainer_module, "clean", 3, after=True),
        partial(killing, trainer_module, "write_file", 1),  # all is learnt, and not written
    ],
}


def train(folder: Path, resume: bool, options: dict[str, Any], sharded: bool) -> None:
    torch.set_num_threads(1)
    made = recipe(**options)
    trainer = Trainer(made, folder, accelerator=accelerator_for(made.stages, "cpu"), save_every=3, keep=2)
    if sharded:
        shard(trainer)
    trainer.run(resume=resume)


def shard(trainer: Trainer) -> None:
    """What accelerate does for FSDP2, which it does on GPUs only."""
    accelerator = trainer.accelerator

    def prepare(step, optimizer):
        names = {parameter: name for name, parameter in step.named_parameters()}
        mesh = init_device_mesh("cpu", (accelerator.num_processes,))
        fully_shard(step.model.body, mesh=mesh)
        fully_shard(step, mesh=mesh)
        parameters = dict(step.named_parameters())
        for group in optimizer.param_groups:
            group["params"] = [parameters[names[each]] for each in group["params"]]
        return step, optimizer

    accelerator.prepare, accelerator.no_sync, trainer.sharded = prepare, lambda step: nullcontext(), True


def forked(
    folder: Path, resume: bool, before=lambda: None, processes: int = 1, sharded: bool = False, **options: Any
) -> list[int]:
    """Train in forks, one for each process; how each ended: 0, or minus the signal. When one is killed, the others are too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        child = os.fork()
        if not child:
            code = 1
            try:
                signal.alarm(LIMIT)
                if processes > 1:
                    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
                    world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                    os.environ.update({name: str(value) for name, value in world.items()})
                if rank == processes - 1 or processes == 1:
                    before()
                train(folder, resume, options, sharded)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    ended = {}
    while len(ended) < len(children):
        child, status = os.waitpid(-1, 0)
        ended[child] = os.waitstatus_to_exitcode(status)
        if ended[child]:
            for other in set(children) - set(ended):
                os.kill(other, signal.SIGKILL)
    return [ended[child] for child in children]


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def result(folder: Path, ended: list[list[int]]) -> dict[str, Any]:
    weights = folder / "weights.safetensors"
    return {
        "ended": ended,
        "log": log_of(folder),
        "weights": weights.read_bytes().hex(),
        "values": [number for _, each in sorted(load_file(weights).items()) for number in each.flatten().tolist()],
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").iterdir()),
        "random": load_file(folder / "checkpoints" / "01-00000006" / "random.safetensors")["torch"].tolist(),
        "files": [str(path) for path in folder.rglob("*") if path.is_file()],
    }


def main(folder: Path) -> None:
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports half of PyTorch, once
    gc.freeze()  # forks need not look through it
    results = {"uninterrupted": result(folder / "whole", [forked(folder / "whole", False)])}
    for number, (name, kills) in enumerate(KILLS.items()):
        place = folder / f"killed-{number}"
        ended = [forked(place, bool(resumed), point) for resumed, point in enumerate(kills)]
        results[name] = result(place, [*ended, forked(place, True)])
    plain = {"dropout": 0.0, "drawn": False, "statistics": False}
    results["one process"] = result(folder / "one", [forked(folder / "one", False, **plain)])
    results["two processes"] = result(folder / "two", [forked(folder / "two", False, processes=2, accumulation=1, **plain)])
    two = {"processes": 2, "accumulation": 1}
    results["two, uninterrupted"] = result(folder / "two-whole", [forked(folder / "two-whole", False, **two)])
    place = folder / "two-killed"
    point = partial(killing, torch.optim.AdamW, "step", 5)
    results["two, killed"] = result(place, [forked(place, False, point, **two), forked(place, True, **two)])
    even = plain | {"rows": 12, "narrow": False}
    results["one process, even"] = result(folder / "even", [forked(folder / "even", False, **even)])
    place, sharded = folder / "sharded", {"processes": 2, "accumulation": 1, "sharded": True}
    ended = [forked(place, False, point, **sharded, **even), forked(place, True, **sharded, **even)]
    results["two, sharded, killed"] = result(place, ended)
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
