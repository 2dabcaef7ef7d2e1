"""A system's model in a folder: what it is made of, its numbers, and a card. Only safetensors, and every shape is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from serval.language.fields import Fields
from serval.refusal import Refusal
from serval.systems.system import System, find_system
from serval.training.checkpoint import write_file, writing
from serval.weights.checkpoint import SafetensorsCheckpoint, differences, refuse_differences

SYSTEM = "system.json"


def save_system(model: nn.Module, folder: Path, slug: str) -> None:
    """``system.json`` with its slug and configuration, ``model.safetensors`` with all its numbers, and ``README.md``.

    Raises:
        Refusal: no such system, or a disk that is full.
    """
    system: System[Any] = find_system(slug)
    config = system.config.model_validate(model.config)
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "model.safetensors", model.state_dict())
        content = {"system": slug, "config": config.model_dump(mode="json")}
        (folder / SYSTEM).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        (folder / "README.md").write_text(_card(system, slug, model), "utf-8")


def load_system(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model that `save_system` wrote, frozen and evaluated. Its backbones' own folders are not needed.

    Raises:
        Refusal: a folder of something else, a damaged one, or weights of other shapes; it says which.
    """
    fields = Fields.from_json(folder / SYSTEM)
    system = find_system(fields.word("system", ""))
    try:
        config = system.config.model_validate(fields.content.get("config"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise Refusal(fields.name, f"{where[:60]}: {first['msg'][:80]}", "give the folder that was saved") from None
    checkpoint = SafetensorsCheckpoint(folder)
    wanted = {name: tuple(each.shape) for name, each in system.empty(config).state_dict().items()}
    found = {name: checkpoint.shape(name) for name in checkpoint.names()}
    refuse_differences(checkpoint.name, differences(wanted, found), f"give the weights that its {SYSTEM} describes")
    model = system.new(config, device=device, dtype=dtype)
    model.load_state_dict({name: checkpoint.tensor(name).to(device=device, dtype=dtype) for name in wanted})
    return model.requires_grad_(False).eval()


def _card(system: System[Any], slug: str, model: nn.Module) -> str:
    count = sum(each.numel() for each in model.parameters())
    head = "---\nlibrary_name: serval\n---\n"
    about = f"{system.idea}\n\nAfter: {system.paper}.\n\n{count:,} parameters. `serval systems {slug}` says what it is made of."
    return f"{head}\n# {system.name}\n\n{about}\n"
