"""One stage of a run, step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from serval.training.batches import Batch, moved
from serval.training.distributed import Step, collected, spread, whole
from serval.training.prepared import Prepared
from serval.training.stage import Stage

if TYPE_CHECKING:
    from serval.training.distributed import Accelerator

Tensors = dict[str, Tensor]


class StageLoop:
    """Takes steps with AdamW.

    The loss of a step is the sum of all totals over the sum of all weights, of every batch in every process: how a step is cut
    into batches and processes does not change what is learnt.
    """

    def __init__(
        self, accelerator: Accelerator, model: nn.Module, stage: Stage, ready: Prepared, batches: Iterator[Batch], steps: int
    ) -> None:
        self.stage, self.steps, self._ready, self._batches, self._accelerator = stage, steps, ready, batches, accelerator
        optimizer = torch.optim.AdamW(ready.groups(), betas=stage.betas)
        self._module, self._optimizer = accelerator.prepare(Step(model, stage.objective), optimizer)
        self._average = {name: each.detach().clone() for name, each in self.parameters.items()} if stage.ema is not None else {}

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return self._ready.parameters

    def take(self, step: int) -> dict[str, Any]:
        """Take step number ``step``, from 0, and say how it went.

        Raises:
            Refusal: the loss or the gradient is not finite, nothing is to be learnt, or there are no more batches. The weights
                are then those before the step.
        """
        began, scale = time.perf_counter(), self.stage.scale(step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * scale
        names, sums = self._backward(step)
        total, weight, depends, *parts = sums.tolist()
        if not depends:
            raise self.stage.refusal("its loss does not depend on anything that it trains", "check its patterns")
        if not weight:
            raise self.stage.refusal(f"nothing in step {step + 1} is to be learnt", "check the labels of its data")
        loss = total / weight
        self._check(loss, "loss", step)
        for parameter in self.parameters.values():
            if parameter.grad is not None:  # processes are averaged, and should be summed
                parameter.grad.mul_(self._accelerator.num_processes / weight)
        limit = math.inf if self.stage.clip is None else self.stage.clip
        norm = float(whole(self._accelerator.clip_grad_norm_(self.parameters.values(), limit)))
        self._check(norm, "gradient", step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        for name, average in self._average.items():
            average.lerp_(self.parameters[name].detach(), 1 - (self.stage.ema or 0.0))
        said = {name: a / b for name, a, b in zip(names, parts[::2], parts[1::2], strict=True) if b}
        rate = max(group["lr"] for group in self._optimizer.param_groups)
        about = {"stage": self.stage.name, "step": step + 1, "loss": loss, **said, "norm": norm, "rate": rate}
        return {**about, "seconds": time.perf_counter() - began}

    def state(self) -> dict[str, Tensors]:
        """The optimizer's moments and the running average, by file; see `distributed.collected`."""
        moments = {
            f"{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
        }
        return {name: collected(self._accelerator, each) for name, each in (("optimizer", moments), ("ema", self._average))}

    def restore(self, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], ema: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave, and these weights."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(spread(weights[name], parameter))
            for name, average in self._average.items():
                average.copy_(spread(ema[name], average))
        for key, value in optimizer.items():
            name, _, kind = key.rpartition("/")
            parameter = self.parameters[name]
            # AdamW counts steps on the CPU
            self._optimizer.state[parameter][kind] = value.clone() if kind == "step" else spread(value, parameter).clone()

    def finish(self) -> None:
        """Where the stage keeps an average of its weights, the model takes it."""
        with torch.no_grad():
            for name, average in self._average.items():
                self.parameters[name].copy_(average)
        self._accelerator.free_memory()

    def _backward(self, step: int) -> tuple[list[str], Tensor]:
        """Gradients of one step's totals; names of the parts, and the sums over batches and processes: total, weight, how many
        depend on what learns, and those of each part."""
        sums: Tensor | None = None
        names: list[str] = []
        for number in range(self.stage.accumulation):
            batch = moved(self._next(step), self._accelerator.device)
            last = number == self.stage.accumulation - 1
            with nullcontext() if last else self._accelerator.no_sync(self._module):
                loss, depends = self._module(batch)
                self._accelerator.backward(loss.total)
            names = list(loss.parts)
            parts = [each for name in names for each in loss.parts[name]]
            numbers = [loss.total, loss.weight, loss.total.new_tensor(float(depends)), *parts]
            these = torch.stack([each.detach().double() for each in numbers])
            sums = these if sums is None else sums + these
        assert sums is not None
        return names, self._accelerator.reduce(sums, reduction="sum")

    def _next(self, step: int) -> Batch:
        try:
            return next(self._batches)
        except StopIteration:
            why = f"its data, {self.stage.mixture}, ended in step {step + 1} of {self.steps}"
            raise self.stage.refusal(why, "take fewer steps, or let the data repeat") from None

    def _check(self, value: float, what: str, step: int) -> None:
        if not math.isfinite(value):
            why = f"the {what} of step {step + 1} is {value}"
            raise self.stage.refusal(why, "lower its rates or look at its data; checkpoints from before are whole")
