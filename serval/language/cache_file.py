"""A conversation's memory to a file and back, in safetensors: nothing in it is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from serval.language.cache import KVCache
from serval.language.entries import Entries
from serval.refusal import Refusal

_NOTES = ("modality", "source", "time", "position", "valid", "number")


def save_cache(cache: KVCache, path: Path) -> None:
    """Write what a cache holds. The file appears whole or not at all."""
    tensors: dict[str, Tensor] = {"length": torch.tensor(cache.length), "counts": cache.counts, "furthest": cache.furthest}
    notes: list[Entries] = []  # layers that share them keep one copy
    for layer, store in enumerate(cache.stores):
        if store is None or store.entries is None:
            continue
        if not any(store.entries is each for each in notes):
            notes.append(store.entries)
        which = next(index for index, each in enumerate(notes) if each is store.entries)
        tensors[f"layers.{layer}.notes"] = torch.tensor(which)
        for name in ("keys", "values"):
            tensors[f"layers.{layer}.{name}"] = getattr(store, name)[:, :, : store.held]
    for index, each in enumerate(notes):
        tensors |= {f"notes.{index}.{name}": getattr(each, name) for name in _NOTES}
    for layer, state in cache.states.items():
        tensors |= {f"states.{layer}.{each.name}": getattr(state, each.name) for each in fields(state)}  # type: ignore[arg-type]
    part = path.with_name(path.name + ".part")
    save_file({name: each.contiguous() for name, each in tensors.items()}, part)
    part.replace(path)


def restore_cache(cache: KVCache, path: Path, states: Mapping[int, type[Any]] | None = None) -> None:
    """Fill a fresh cache of the same decoder, batch and type with what `save_cache` wrote.

    Args:
        states: the kinds of state of the layers that remember by one.

    Raises:
        Refusal: the file is missing, damaged, or of another kind of cache. The cache is as it was then.
    """
    try:
        tensors = load_file(path, device=str(cache.device))
    except OSError:
        raise Refusal(path.name, "it cannot be read", "check the path") from None
    except SafetensorError:
        raise Refusal(path.name, "it is damaged, or not a safetensors file", "save the conversation again") from None
    try:
        _fill(cache, tensors, states or {})
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError):
        raise Refusal(path.name, "it is of another kind of conversation", "open it with the model that saved it") from None


def _fill(cache: KVCache, tensors: dict[str, Tensor], kinds: Mapping[int, type[Any]]) -> None:
    shape, count = tensors["counts"].shape, sum(name.startswith("notes.") for name in tensors) // len(_NOTES)
    if shape != (cache.batch,) or tensors["furthest"].shape != shape:
        raise ValueError("rows")
    notes = []
    for index in range(count):
        of = {name: tensors[f"notes.{index}.{name}"] for name in _NOTES}
        if (
            any(each.shape[:3] != of["number"].shape or each.ndim < 3 for each in of.values())
            or len(of["number"]) != cache.batch
        ):
            raise ValueError("notes")
        notes.append(Entries(**of, all_valid=bool(of["valid"].all())))
    found = []
    for layer, store in enumerate(cache.stores):
        if store is None or f"layers.{layer}.notes" not in tensors:
            continue
        entries = notes[int(tensors[f"layers.{layer}.notes"])]
        keys, values = tensors[f"layers.{layer}.keys"], tensors[f"layers.{layer}.values"]
        heads, head_dim = cache.shapes[layer]
        wanted = (cache.batch, heads, entries.length, head_dim)
        if keys.shape != wanted or values.shape != wanted or keys.dtype != cache.dtype or entries.length > cache.capacity:
            raise ValueError("keys")
        found.append((store, keys, values, entries))
    if len(found) != sum(store is not None for store in cache.stores) and int(tensors["length"]):
        raise ValueError("layers")
    states = {layer: kind(**_state(tensors, layer)) for layer, kind in kinds.items()}
    for store, keys, values, entries in found:
        store.keys, store.values, store.held, store.entries = keys, values, entries.length, entries
    cache.states = states
    cache.length, cache.counts, cache.furthest = int(tensors["length"]), tensors["counts"], tensors["furthest"]


def _state(tensors: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    start = f"states.{layer}."
    return {name.removeprefix(start): each for name, each in tensors.items() if name.startswith(start)}
