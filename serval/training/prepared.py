"""A model made ready for a stage and back: what is frozen, what drops, in which precision it computes, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from serval.training.parameters import Chosen, chosen, matching_modules
from serval.training.stage import Stage

PRECISIONS: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Prepared:
    """What learns in a stage, by name: in float32, whatever it is computed in."""

    chosen: Mapping[str, Chosen]

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: each.parameter for name, each in self.chosen.items()}

    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups: what shares a rate and decays, or does not; ``rate`` is the full learning rate."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for each in self.chosen.values():
            key = (each.rate.learning_rate, each.rate.weight_decay if each.parameter.ndim > 1 else 0.0)
            groups.setdefault(key, []).append(each.parameter)
        return [{"params": some, "lr": lr, "rate": lr, "weight_decay": decay} for (lr, decay), some in groups.items()]


@contextmanager
def prepared(model: nn.Module, stage: Stage, *, masters: bool = True) -> Iterator[Prepared]:
    """``model`` ready for ``stage``; afterwards it is frozen and evaluated, each weight in the precision of the stage.

    Weights that learn are float32. Where they are to be computed in bfloat16, modules see them rounded and gradients reach what
    is behind: small steps would be rounded away (Micikevicius et al. 2018, arXiv:1710.03740).

    Args:
        masters: whether weights are rounded here; what shards a model does it itself.

    Raises:
        Refusal: see `parameters.chosen`.
    """
    found = chosen(model, stage)
    blocks = matching_modules(model, stage.gradient_checkpointing, stage)
    model.requires_grad_(False)
    for each in found.values():
        each.parameter.requires_grad_(True)
    _modes(model, training=False)
    precision = None if stage.precision is None else PRECISIONS[stage.precision]
    computed = {name: precision or each.parameter.dtype for name, each in found.items()}
    _cast(model, precision)
    for name, each in found.items():
        if computed[name] == torch.bfloat16 and masters:
            for module, own in each.places:
                parametrize.register_parametrization(module, own, _Rounded(), unsafe=True)  # unsafe: the type changes
    for block in blocks:
        block.__dict__["forward"] = _recomputing(block.forward)  # on the object: names of parameters stay as they are
    try:
        yield Prepared(found)
    finally:
        for block in blocks:
            block.__dict__.pop("forward")
        for name, each in found.items():
            for module, own in each.places:
                if parametrize.is_parametrized(module, own):
                    parametrize.remove_parametrizations(module, own, leave_parametrized=False)
            each.parameter.grad = None
            each.parameter.data = each.parameter.data.to(computed[name])
        model.requires_grad_(False).eval()


def buffers_that_change(model: nn.Module) -> dict[str, Tensor]:
    """Running statistics and the like: the buffers that are saved with a model, of the modules that are training."""
    return {
        f"{prefix}.{name}".lstrip("."): buffer
        for prefix, module in model.named_modules()
        if module.training
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    }


def _modes(module: nn.Module, training: bool) -> None:
    """Only what learns is in training: dropout and running statistics of what is frozen stand still. What has no parameters,
    such as dropout, does as the module around it."""
    parameters = list(module.parameters())
    module.training = any(each.requires_grad for each in parameters) if parameters else training
    for child in module.children():
        _modes(child, module.training)


def _cast(model: nn.Module, precision: torch.dtype | None) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.requires_grad:
            tensor.data = tensor.data.to(torch.promote_types(tensor.dtype, torch.float32))
        elif tensor.dtype in _FLOATS and precision is not None:
            tensor.data = tensor.data.to(precision)


class _Rounded(nn.Module):
    def forward(self, master: Tensor) -> Tensor:
        return master.bfloat16()


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **options)
        return checkpoint(forward, *args, use_reentrant=False, **options)

    return run
