"""Where a run computes: the CPU, one GPU, or several processes, through accelerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from serval.refusal import Refusal
from serval.training.batches import Batch
from serval.training.objectives.loss import Loss
from serval.training.stage import Objective, Stage

if TYPE_CHECKING:
    from accelerate import Accelerator as Accelerator  # type: ignore[import-untyped]


def accelerator_for(stages: Sequence[Stage], device: str | None = None, *, shard: bool = False) -> Accelerator:
    """accelerate's view of the processes that ``torchrun`` or ``accelerate launch`` started, or of this one alone.

    Several processes hold the model each (DDP); with ``shard`` each holds a part of it (FSDP2), which takes GPUs, and
    objectives that need the same weights in every process at every step.

    Args:
        device: "cpu", or None for the best there is.

    Raises:
        Refusal: accelerate is not installed, ``shard`` without GPUs, or another device than accelerate has here.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
    except ImportError:
        raise Refusal("training", "accelerate is not installed", "run: pip install accelerate") from None
    cpu = device == "cpu" or not torch.cuda.is_available()
    if shard:
        if cpu:
            raise Refusal("sharding (FSDP2)", "there is no GPU", "train without --shard")
        narrow = any(stage.precision == "bfloat16" for stage in stages)
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="size_based_wrap", min_num_params=10**7, cpu_ram_efficient_loading=False
        )
        return Accelerator(mixed_precision="bf16" if narrow else "no", fsdp_plugin=plugin)
    # a step may leave out some of what learns: experts without tokens, a branch for a modality that is not there
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    made = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=handlers)
    if device is not None and made.device.type != torch.device(device).type:
        raise Refusal(f"device {device}", f"this machine trains on {made.device.type}", "leave --device out, or say cpu")
    return made


class Step(nn.Module):
    """Model and objective as one module, so that what wraps it sees one forward pass, whatever the objective calls.

    The loss comes with whether it depends on anything that learns. A batch need not, but it has a gradient all the same, of
    zero: other processes wait for it.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> tuple[Loss, bool]:
        loss = self.objective(self.model, batch)
        if loss.total.requires_grad:
            return loss, True
        learning = next(each for each in self.model.parameters() if each.requires_grad)
        return loss._replace(total=loss.total + 0 * learning.sum()), False


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be spread over processes; all of them must ask."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def collected(accelerator: Accelerator, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors``, whole and on the CPU, in the main process; none in the others. All of them must ask.

    One at a time: a device that holds a part of a model may have no room for all of it.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        all_of_it = whole(tensor.detach())
        if accelerator.is_main_process:
            kept[name] = all_of_it.cpu()
    return kept


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor`` on the device of ``like``, and over processes as that is."""
    tensor = tensor.to(like.device)
    mesh: Any = getattr(like, "device_mesh", None)
    if mesh is None:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, mesh, like.placements)  # type: ignore[attr-defined]


def agreed(accelerator: Accelerator, number: int) -> int:
    """The main process's number, in all of them."""
    mine = torch.tensor([number if accelerator.is_main_process else 0], device=accelerator.device)
    return int(accelerator.reduce(mine, reduction="sum").item())
