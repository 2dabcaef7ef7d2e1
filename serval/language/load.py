"""Decoders from safetensors. Every name and shape is compared before a number is read."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from serval.language.config import LlamaConfig
from serval.language.decoder import Decoder
from serval.refusal import Refusal

_SHOWN = 3  # differences that one line can bear
_FLOATS = {"F64", "F32", "F16", "BF16"}


def load_decoder(
    weights: Path, config: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Decoder:
    """A decoder, ready to read, from ``model.safetensors`` and ``config.json`` with Hugging Face's names.

    Raises:
        Refusal: a file is missing or damaged, or its tensors are not those that the configuration asks for; it says which.
    """
    with torch.device("meta"):
        decoder = Decoder(LlamaConfig.from_json(config))
    wanted = decoder.state_dict()
    try:
        with safe_open(weights, framework="pt") as file:
            names = {name.removeprefix("model."): name for name in file.keys()}  # noqa: SIM118 - it has no other iterator
            if decoder.lm_head is None:
                names.pop("lm_head.weight", None)  # some files keep the tied copy
            shapes = {known: tuple(file.get_slice(name).get_shape()) for known, name in names.items()}
            differences = _differences({name: tuple(tensor.shape) for name, tensor in wanted.items()}, shapes)
            differences += [
                f"{name} is not of floats" for name in names.values() if file.get_slice(name).get_dtype() not in _FLOATS
            ]
            if differences:
                more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
                raise Refusal(
                    weights.name, f"{', '.join(differences[:_SHOWN])}{more}", f"give the weights that {config.name} describes"
                )
            state = {known: file.get_tensor(names[known]).to(device=device, dtype=dtype) for known in wanted}
    except OSError:
        raise Refusal(weights.name, "it cannot be read", "check the path, or fetch the weights again") from None
    except SafetensorError:
        raise Refusal(weights.name, "it is damaged, or not a safetensors file", "fetch the weights again") from None
    decoder.load_state_dict(state, assign=True)
    return decoder.requires_grad_(False).eval()


def _differences(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> list[str]:
    """What is missing, not expected, or of another shape, in words."""
    missing = [f"{name} is missing" for name in wanted if name not in found]
    extra = [f"{_printable(name)} is not expected" for name in found if name not in wanted]
    shapes = [
        f"{name} is {_shape(found[name])} and should be {_shape(wanted[name])}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return shapes + missing + extra


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _printable(name: str) -> str:
    return name if name.isprintable() and len(name) <= 80 else "a tensor with a strange name"
