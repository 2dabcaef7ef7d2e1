"""Checkpoints of a run: safetensors and JSON in a folder that is there whole or not at all, whatever ends the process."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from serval.refusal import Refusal

NOTE = "state.json"
_NAME = re.compile(r"\d{2}-\d{8}")


def write_checkpoint(place: Path, files: Mapping[str, Mapping[str, Tensor]], note: Mapping[str, Any]) -> None:
    """Write ``files``, each ``NAME.safetensors``, and ``note`` into the folder ``place``, in one step.

    Everything is written beside it, brought to the disk, and then given its name.

    Raises:
        Refusal: the disk is full, or cannot be written to; what was there before is untouched.
    """
    part, old = place.with_name(f".{place.name}.partial"), place.with_name(f".{place.name}.old")
    with writing(f"checkpoint {place.name}"):
        place.parent.mkdir(parents=True, exist_ok=True)
        clean(place.parent)
        part.mkdir()
        try:
            for name, tensors in files.items():
                if tensors:
                    save_file({key: _alone(tensor) for key, tensor in tensors.items()}, part / f"{name}.safetensors")
            (part / NOTE).write_text(json.dumps(note, indent=1) + "\n", "utf-8")
            for path in (*part.iterdir(), part):
                _to_disk(path)
            if place.exists():  # written by a run that was taken up again before it
                place.rename(old)
            part.rename(place)
            _to_disk(place.parent)
        finally:
            clean(place.parent)  # on a full disk, half a checkpoint would be in the way


def write_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One file of tensors, in one step; nothing for none. Raises `Refusal` as `write_checkpoint` does."""
    part = path.with_name(f".{path.name}.partial")
    with writing(path.name):
        save_file({key: _alone(tensor) for key, tensor in tensors.items()}, part)
        _to_disk(part)
        part.replace(path)
        _to_disk(path.parent)


def clean(folder: Path, keep: int | None = None) -> None:
    """Remove what killed processes left over, and all but the last ``keep`` checkpoints."""
    for left in (*folder.glob(".*.partial"), *folder.glob(".*.old")):
        shutil.rmtree(left, ignore_errors=True)
    for place in [] if keep is None else checkpoints(folder)[:-keep]:
        gone = place.with_name(f".{place.name}.old")
        place.rename(gone)  # so that a kill does not leave half of one under its name
        shutil.rmtree(gone, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Of a run, from the first to the last: "STAGE-STEP", about to take that step."""
    return sorted(each for each in folder.glob("*") if _NAME.fullmatch(each.name)) if folder.is_dir() else []


def read_note(place: Path) -> dict[str, Any]:
    """Raises `Refusal` where it is damaged."""
    try:
        note = json.loads((place / NOTE).read_bytes())
        if isinstance(note, dict):
            return note
    except (OSError, ValueError):
        pass
    raise _damaged(place)


def read_tensors(place: Path, name: str, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of one file, none where there is no such file. Raises `Refusal` where it is damaged."""
    path = place / f"{name}.safetensors"
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it has no other iterator
    except (OSError, SafetensorError):
        raise _damaged(place) from None


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Put what a run has learnt, its ``weights.safetensors``, into a model that was built by the same recipe; their names.

    Raises:
        Refusal: the file is missing or damaged, or of another model.
    """
    tensors = read_tensors(path.parent, path.stem)
    if not tensors:
        raise Refusal(path.name, "there is nothing in it", "give the weights.safetensors of a run")
    fill(model, tensors, path.name)
    return list(tensors)


def fill(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy ``tensors`` into the parameters and buffers of their names. Raises `Refusal` before anything has changed."""
    own: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise Refusal(what, f"{name} has no place in this model", "build the model that was trained")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Errors of the disk, in words."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        full = number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} or "(os error 28)" in str(error)
        why = "the disk is full" if full else f"it cannot be written ({error.__class__.__name__})"
        raise Refusal(what, why, "make room, and go on with --resume from the last checkpoint") from None


def _alone(tensor: Tensor) -> Tensor:
    """On the CPU, in a piece of memory of its own, as the file's writer wants it."""
    tensor = tensor.detach().cpu().contiguous()
    alone = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if alone else tensor.clone()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(place: Path) -> Refusal:
    return Refusal(f"checkpoint {place.name}", "it is damaged", f"delete {place} to go on from the one before it")
