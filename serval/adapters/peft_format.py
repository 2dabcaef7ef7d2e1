"""LoRA and DoRA on the linear maps of any model, and their files as Hugging Face's PEFT writes and reads them.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Which maps are adapted is read from the names of the
tensors; regular expressions in a file are never run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from serval.adapters.by_modality import ByModality
from serval.adapters.decomposed_linear import DecomposedLinear
from serval.adapters.replace import ALL_LINEAR, Targets, matching, put, replace_modules
from serval.adapters.typed_linear import TypedLinear
from serval.language.fields import Fields
from serval.refusal import Refusal
from serval.weights.checkpoint import SafetensorsCheckpoint, differences, refuse_differences

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX, DOWN, UP, MAGNITUDE = "base_model.model.", ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
Adapter = TypedLinear | DecomposedLinear
Names = Callable[[str], str]
"""From a module's name here to its name in the model that PEFT knows."""

_READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "bias"}
_ABOUT = {"base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version", "inference_mode"}
_WHICH = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
_IDLE = {"init_lora_weights", "megatron_core", "qalora_group_size", "eva_config"}  # of no effect once there are weights
_PLAIN_STARTS = ("gaussian", "orthogonal", "eva")  # other ways to start an adapter change the frozen weights too


def causal_lm_names(name: str) -> str:
    """For a ``Decoder``: Hugging Face's causal language models hold all but the output head in ``model``."""
    return name if name == "lm_head" else f"model.{name}"


def add_adapters(
    model: nn.Module,
    targets: Targets = ALL_LINEAR,
    *,
    rank: int,
    alpha: float | None = None,
    dora: bool = False,
    rank_stabilised: bool = False,
    dropout: float = 0.0,
    dtype: torch.dtype | None = None,
) -> list[Adapter]:
    """Put a LoRA, or with ``dora`` a DoRA, around each linear map that ``targets`` mean; at first nothing changes.

    A branch is scaled by alpha / rank, or with ``rank_stabilised`` by alpha / √rank (rsLoRA, Kalajdzievski 2023); alpha is the
    rank where it is not given. The adapted maps are frozen, the rest of the model is left as it is. See ``TypedLinear`` for
    ``dropout`` and ``dtype``.

    Raises ``Refusal`` where ``targets`` mean no linear map.
    """
    added: list[Adapter] = []
    kind = DecomposedLinear if dora else TypedLinear
    alpha = _alpha(rank if alpha is None else alpha, rank, rank_stabilised)

    def adapt(linear: nn.Module) -> nn.Module:
        assert isinstance(linear, nn.Linear)
        added.append(kind(linear, rank=rank, alpha=alpha, dropout=dropout, dtype=dtype))
        return added[-1]

    replace_modules(model, targets, adapt, kind=nn.Linear, closed=(TypedLinear, DecomposedLinear))
    return added


def merge_adapters(model: nn.Module) -> list[str]:
    """Every adapter becomes the plain linear map that does the same; their names. Raises ``ValueError`` as saving does."""
    found = _adapters(model)
    for name, adapter in found.items():
        if isinstance(adapter, DecomposedLinear):
            put(model, name, adapter.merged())
        else:
            adapter.merge()
            put(model, name, adapter.base)
    return list(found)


def save_adapters(model: nn.Module, folder: Path, *, names: Names = str) -> None:
    """Write the adapters of ``model``, for PEFT or ``load_adapters`` to read; ``names`` as there.

    A rank-stabilised scale is written as the plain alpha that gives the same scale.

    Raises ``ValueError`` where there are no adapters, and for what the format has no words for: several branches, a branch that
    not every token takes, LoRA beside DoRA, a branch that is merged.
    """
    from safetensors.torch import save_file

    found = {names(name): adapter for name, adapter in _adapters(model).items()}
    dora = {isinstance(adapter, DecomposedLinear) for adapter in found.values()}
    if len(dora) != 1:
        raise ValueError("There are no adapters to save, or LoRAs beside DoRAs, which PEFT keeps in folders of their own.")
    branches = {name: _branch(adapter) for name, adapter in found.items()}
    tensors = {f"{PREFIX}{name}{DOWN}": branch.down for name, branch in branches.items()}
    tensors |= {f"{PREFIX}{name}{UP}": branch.up for name, branch in branches.items()}
    tensors |= {
        f"{PREFIX}{name}{MAGNITUDE}": adapter.magnitude
        for name, adapter in found.items()
        if isinstance(adapter, DecomposedLinear)
    }
    rank, rank_pattern = _usual({name: branch.ranks[0] for name, branch in branches.items()})
    alpha, alpha_pattern = _usual({name: branch.alphas[0] for name, branch in branches.items()})
    config = {
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": rank_pattern,
        "lora_alpha": alpha,
        "alpha_pattern": alpha_pattern,
        "lora_dropout": max(branch.dropout.p for branch in branches.values()),
        "use_dora": dora.pop(),
        "target_modules": sorted(found),
        "bias": "none",
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contents, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def load_adapters(model: nn.Module, folder: Path, *, names: Names = str) -> list[Adapter]:
    """Put the adapters in ``folder`` around the linear maps of ``model`` that they were made for, and return them.

    ``names`` leads from a module's name here to its name in the model that they were saved from, where these differ: for a
    ``Decoder`` it is ``causal_lm_names``. Branches are of the file's type, or of the model's where that is more precise.

    Raises ``Refusal``, before anything is changed, where a file is missing, damaged or a pickle; where the adapters are of
    another kind, or have an option that is not known here; where tensors are missing, misshapen or for no part of the model.
    """
    config = Fields.from_json(folder / CONFIG)
    dropout = _check(config)
    dora, stabilised = config.flag("use_dora"), config.flag("use_rslora")
    alpha, alphas = config.number("lora_alpha", 8), _pattern(config, "alpha_pattern")
    linears = {names(name): (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    tensors = _tensors(folder, config, {name: linear for name, (_, linear) in linears.items()})
    loaded: list[Adapter] = []
    for name, (own, base) in linears.items():
        down = tensors.get(f"{PREFIX}{name}{DOWN}")
        if down is None:
            continue
        rank, dtype = len(down), torch.promote_types(down.dtype, base.weight.dtype)
        its_alpha = _alpha(next((value for end, value in alphas.items() if _means(end, name)), alpha), rank, stabilised)
        adapter = (DecomposedLinear if dora else TypedLinear)(base, rank=rank, alpha=its_alpha, dropout=dropout, dtype=dtype)
        with torch.no_grad():
            _branch(adapter).down.copy_(down)
            _branch(adapter).up.copy_(tensors[f"{PREFIX}{name}{UP}"])
            if isinstance(adapter, DecomposedLinear):
                adapter.magnitude.copy_(tensors[f"{PREFIX}{name}{MAGNITUDE}"])
        put(model, own, adapter)
        loaded.append(adapter)
    return loaded


def _tensors(folder: Path, config: Fields, linears: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """All that is in the file, once it is what the configuration and the model say."""
    if not (folder / WEIGHTS).exists() and (folder / PICKLE).exists():
        raise Refusal(PICKLE, "it is a pickle, which may run anything when it is read", "take a safetensors version")
    file = SafetensorsCheckpoint(folder / WEIGHTS)
    found = {name: file.shape(name) for name in file.names()}
    wanted: dict[str, tuple[int, ...]] = {}
    for name in _adapted(config, found, linears):
        linear, rank = linears[name], _rank(config, found, name)
        wanted |= {f"{PREFIX}{name}{DOWN}": (rank, linear.in_features), f"{PREFIX}{name}{UP}": (linear.out_features, rank)}
        if config.flag("use_dora"):
            wanted[f"{PREFIX}{name}{MAGNITUDE}"] = (linear.out_features,)
    refuse_differences(WEIGHTS, differences(wanted, found), "give the adapters that were made for this model")
    if not wanted:
        raise Refusal(WEIGHTS, "there is no adapter in it", "save them again")
    return {name: file.tensor(name) for name in wanted}


def _alpha(alpha: float, rank: int, stabilised: bool) -> float:
    """The alpha of which alpha / rank is the scale."""
    return alpha * sqrt(rank) if stabilised else alpha


def _branch(adapter: Adapter) -> TypedLinear:
    return adapter.direction if isinstance(adapter, DecomposedLinear) else adapter


def _adapters(model: nn.Module) -> dict[str, Adapter]:
    """All LoRAs and DoRAs of ``model`` by name. Raises ``ValueError`` for an adapter that is none of both."""
    found: dict[str, Adapter] = {}
    for name, module in model.named_modules():
        if isinstance(module, TypedLinear | DecomposedLinear):
            parent = name.rpartition(".")[0]
            if parent in found:  # the direction within a DoRA
                continue
            branch = _branch(module)
            if branch.branches > 1 or branch.gate is not None or isinstance(model.get_submodule(parent), ByModality):
                raise ValueError(f"{name} is not one branch that every token takes.")
            if branch.merged:
                raise ValueError(f"{name} is merged: unmerge it first.")
            found[name] = module
    return found


def _usual(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """What most modules have, and by PEFT's patterns what the others have."""
    plain = {name: int(value) if value == int(value) else value for name, value in values.items()}
    usual = Counter(plain.values()).most_common(1)[0][0]
    return usual, {f"^{name}": value for name, value in plain.items() if value != usual}


def _check(config: Fields) -> float:
    """The dropout. Raises ``Refusal`` for another kind of adapter, and for options that would change what it computes."""
    if config.word("peft_type", "") != "LORA":
        raise config.refusal("its peft_type is not LORA", "only LoRA and DoRA are read")
    if config.word("bias", "none") != "none":
        raise config.refusal("it changes biases too", "train adapters with bias set to none")
    start = config.content.get("init_lora_weights", True)
    if not isinstance(start, bool | None) and start not in _PLAIN_STARTS:
        raise config.refusal("its init_lora_weights changed the frozen weights", "convert it to plain LoRA with PEFT")
    for key, value in config.content.items():
        if value and key not in _READ | _ABOUT | _WHICH | _IDLE:
            option = key if key.isidentifier() and len(key) < 40 else "an option with a strange name"
            raise config.refusal(f"it uses {option}, which is not known here", "train adapters without it")
    dropout = config.content.get("lora_dropout", 0.0)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise config.refusal("its lora_dropout is not a share below 1")
    return float(dropout)


def _adapted(config: Fields, shapes: Mapping[str, Any], linears: Mapping[str, Any]) -> list[str]:
    """The linear maps for which there are tensors, or should be by the list of targets."""
    targets, limits = config.content.get("target_modules"), _WHICH - {"target_modules"}
    meant: set[str] = set()
    if isinstance(targets, list) and not any(config.content.get(key) for key in limits):
        ends = [target for target in targets if isinstance(target, str)]
        meant = set(matching(linears, ends))
        if not meant:
            raise config.refusal("its target_modules are no linear maps of the model", "give the adapters of this model")
    stems = {name.removeprefix(PREFIX).removesuffix(part) for name in shapes for part in (DOWN, UP, MAGNITUDE)}
    return [name for name in linears if name in meant or name in stems]


def _rank(config: Fields, shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """The configuration's rank, or where that makes exceptions what the tensor says."""
    shape = shapes.get(f"{PREFIX}{name}{DOWN}", ())
    return shape[0] if config.content.get("rank_pattern") and shape and shape[0] else config.whole("r", 8)


def _pattern(config: Fields, key: str) -> dict[str, float]:
    """Exceptions by the last parts of modules' names."""
    within = config.within(key)
    if any(not re.fullmatch(r"\^?[\w.-]+", name) for name in within.content):
        raise config.refusal(f"its {key} holds a regular expression, which is not run", "write plain names")
    return {name: within.number(name) for name in within.content}


def _means(end: str, name: str) -> bool:
    return name == end.removeprefix("^") or name.endswith(f".{end}")
