"""Which parameters a stage trains, by patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from serval.refusal import Refusal
from serval.training.stage import Rate, Stage


class Place(NamedTuple):
    """Where a parameter stands in a model; tied parameters stand in several places."""

    module: nn.Module
    name: str


class Chosen(NamedTuple):
    """A parameter that learns."""

    places: tuple[Place, ...]
    rate: Rate
    pattern: str

    @property
    def parameter(self) -> nn.Parameter:
        """What the optimizer changes: the weight, or the master behind a rounded one."""
        module, name = self.places[0]
        if parametrize.is_parametrized(module, name):
            return module.parametrizations[name].original  # type: ignore[index, union-attr]
        return module._parameters[name]  # type: ignore[return-value]


def chosen(model: nn.Module, stage: Stage) -> dict[str, Chosen]:
    """What ``stage`` trains, by the parameters' first names.

    Raises:
        Refusal: a pattern that no parameter fits, or none that an earlier pattern does not fit; nothing that learns; float16,
            whose gradients vanish.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    taken: dict[str, str] = {}
    everything = [name for tied in names.values() for name in tied]
    for pattern in stage.trains:
        fits = [tied[0] for tied in names.values() if any(fnmatchcase(name, pattern) for name in tied)]
        if not fits:
            raise stage.refusal(f"no parameter is called {pattern}", f"there are {', '.join(near(pattern, everything))}")
        fresh = [name for name in fits if name not in taken]
        if not fresh:
            raise stage.refusal(f"all that {pattern} fits is taken by a pattern before it", "put the narrower pattern first")
        taken |= dict.fromkeys(fresh, pattern)
    found: dict[str, Chosen] = {}
    for tied in names.values():
        rate = stage.trains.get(taken.get(tied[0], ""))
        if rate is not None:
            found[tied[0]] = Chosen(tuple(_place(model, name) for name in tied), rate, taken[tied[0]])
    if not found:
        raise stage.refusal("it trains nothing", "give a pattern a rate")
    for name, each in found.items():
        if each.parameter.dtype not in (torch.float32, torch.bfloat16, torch.float64):
            why = f"{name} is {str(each.parameter.dtype).removeprefix('torch.')}, in which small gradients vanish"
            raise stage.refusal(why, "build it in bfloat16 or float32")
    return found


def matching_modules(model: nn.Module, patterns: Sequence[str], stage: Stage) -> list[nn.Module]:
    """Modules whose names fit; of those within each other, the outermost. Raises `Refusal` for a pattern that fits none."""
    lists = (nn.ModuleList, nn.ModuleDict)  # they are never called themselves
    modules = {name: each for name, each in model.named_modules() if name and not isinstance(each, lists)}
    found: dict[str, nn.Module] = {}
    for pattern in patterns:
        fits = {name: module for name, module in modules.items() if fnmatchcase(name, pattern)}
        if not fits:
            raise stage.refusal(f"no module is called {pattern}", f"there are {', '.join(near(pattern, modules))}")
        found |= fits
    inner = {name for name in found for other in found if name.startswith(f"{other}.")}
    return [module for name, module in found.items() if name not in inner]


def near(pattern: str, names: Iterable[str]) -> list[str]:
    """A few names like ``pattern``, or the first ones, with numbers as ``*``."""
    kinds = list(dict.fromkeys(re.sub(r"(?<![^.])\d+(?![^.])", "*", name) for name in names))
    last = pattern.strip("*.").rpartition(".")[2]
    alike = get_close_matches(pattern, kinds, n=3, cutoff=0.5)
    alike += [kind for kind in kinds if last and get_close_matches(last, kind.split("."), cutoff=0.7)]
    return list(dict.fromkeys(alike))[:4] or kinds[:4]


def refuse_unknown(what: str, name: str, known: Iterable[str], kind: str) -> Refusal:
    """A refusal of a name that is not known, with the nearest ones first."""
    names = list(known)
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return Refusal(what, f"there is no {kind} {name[:60]}", f"{hint}there are: {', '.join(names) or 'none'}")


def _place(model: nn.Module, name: str) -> Place:
    parent, _, own = name.rpartition(".")
    return Place(model.get_submodule(parent), own)
