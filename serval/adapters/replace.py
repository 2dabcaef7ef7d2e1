"""Parts of a model found by name, and others put in their place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from torch import nn

from serval.refusal import Refusal

ALL_LINEAR = "all-linear"
Targets = str | Sequence[str]
"""Which modules: a regular expression for the whole of a dotted name; or names, of which the last parts are enough
(``["q_proj", "layers.0.mlp"]``); or ``"all-linear"``, every linear map but the output head and the routers of experts.
PEFT's rules."""
_SPARED = {"lm_head", "router", "gate"}


def matching(names: Iterable[str], targets: Targets) -> list[str]:
    """Those of ``names`` that are meant. Raises ``Refusal`` for a broken regular expression."""
    if targets == ALL_LINEAR:
        return [name for name in names if name.split(".")[-1] not in _SPARED]
    if not isinstance(targets, str):
        return [name for name in names if any(name == end or name.endswith(f".{end}") for end in targets)]
    try:
        pattern = re.compile(targets)
    except re.error as error:
        raise Refusal(repr(targets), f"it is not a regular expression: {error}", "write names, or all-linear") from None
    return [name for name in names if pattern.fullmatch(name)]


def replace_modules(
    model: nn.Module,
    targets: Targets,
    make: Callable[[nn.Module], nn.Module],
    *,
    kind: type[nn.Module] = nn.Module,
    closed: tuple[type[nn.Module], ...] = (),
) -> list[str]:
    """Put ``make(module)`` where each module of ``kind`` that ``targets`` mean stood, and return their names.

    Of modules within each other only the outermost is replaced, and nothing inside a module of a ``closed`` kind. So
    ``replace_modules(decoder, "all-linear", lambda linear: ByModality(TypedLinear(linear, rank=(192, 64)), {IMAGE: 1}))`` is
    Arcana's MM-LoRA, and ``replace_modules(decoder, r"layers\\.\\d*[02468]\\.mlp", lambda mlp: ExpertFeedForward(mlp, width,
    experts=4))`` makes experts in every second layer, as MoE-LLaVA does.

    Raises ``Refusal`` where nothing is meant.
    """
    if targets == ALL_LINEAR:
        kind = nn.Linear
    modules = {name: module for name, module in model.named_modules() if name}
    shut = [name for name, module in modules.items() if isinstance(module, closed)]
    names = [name for name, module in modules.items() if isinstance(module, kind) and not _inside(name, shut)]
    taken: list[str] = []
    for name in matching(names, targets):  # a module's name comes before those of what is in it
        if not _inside(name, taken):
            taken.append(name)
    if not taken:
        last = sorted({name.split(".")[-1] for name in names}) or ["none"]
        what = targets if isinstance(targets, str) else ", ".join(targets)
        raise Refusal(what, "no part of the model has such a name", f"its parts are {', '.join(last[:8])}")
    for name in taken:
        put(model, name, make(modules[name]))
    return taken


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """``module`` in place of what has this dotted name in ``model``."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def _inside(name: str, others: Sequence[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in others)
