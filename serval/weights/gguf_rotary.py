"""How a GGUF file tells of rotary positions, as Hugging Face's ``rope_parameters``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from serval.weights.gguf_keys import Keys, shortest

FREQUENCIES = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
TENSORS = frozenset({FREQUENCIES, LONG, SHORT})

_TRAINED = 8192  # tokens that every Llama 3 was first trained with; the file tells only what follows from it
_LOW, _HIGH = 1.0, 4.0  # and these are the bounds between which all of them blend


def rope_parameters(keys: Keys, dimensions: int, context: int) -> dict[str, Any]:
    """The base and the rescaling of positions, for heads of which ``dimensions`` numbers turn.

    Raises:
        Refusal: a rescaling that is not known, or with values that cannot be.
    """
    theta, tensors = keys.number("rope.freq_base", 10000.0), keys.source.tensors
    name = keys.source.get(f"{keys.architecture}.rope.scaling.type", str, "linear")  # with a factor alone, it is that
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))  # the second is how old files call it
    trained = keys.whole("rope.scaling.original_context_length", context)
    plain = name == "none" or (name == "linear" and factor == 1)
    told: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if FREQUENCIES in tensors and plain:
        return told | _slowed(_factors(keys, FREQUENCIES, dimensions), theta, context)
    if (LONG in tensors or SHORT in tensors) and (plain or name == "longrope"):
        told |= {"rope_type": "longrope", "original_max_position_embeddings": trained}
        told |= {"short_factor": _factors(keys, SHORT, dimensions), "long_factor": _factors(keys, LONG, dimensions)}
        return told | _numbers(keys, attention_factor="attn_factor")
    if plain:
        return told
    if name == "linear":
        return told | {"rope_type": "linear", "factor": factor}
    if name == "yarn" and keys.value("rope.scaling.yarn_ext_factor") in (None, 1.0):
        told |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": trained}
        bounds = {"beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}
        return told | _numbers(keys, attention_factor="yarn_attn_factor", **bounds)
    raise keys.refusal("it rescales positions in a way that is not read here", "take a model without it")


def _numbers(keys: Keys, **names: str) -> dict[str, float]:
    """Those that are given, by Hugging Face's names."""
    given = {theirs: f"rope.scaling.{ours}" for theirs, ours in names.items()}
    return {theirs: keys.number(key) for theirs, key in given.items() if keys.value(key) is not None}


def _factors(keys: Keys, name: str, dimensions: int) -> list[float]:
    """What each pair's turning is slowed by."""
    tensor = keys.source.tensors.get(name)
    if tensor is None or tensor.shape != (dimensions // 2,):
        raise keys.refusal(f"{name} is not a list of {dimensions // 2} numbers")
    values = tensor.dequantize()
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise keys.refusal(f"{name} holds numbers that are not positive")
    return [shortest(float(value)) for value in values]


def _slowed(slowed: list[float], theta: float, context: int) -> dict[str, Any]:
    """As Llama 3 rescales, where that gives these factors; else the factors themselves, as long contexts have them."""
    factor = max(slowed)
    if factor == 1 == min(slowed):
        return {}
    lengths = 2 * math.pi * theta ** (np.arange(len(slowed)) / len(slowed))
    share = np.clip((_TRAINED / lengths - _LOW) / (_HIGH - _LOW), 0, 1)  # of the frequency as it was
    if np.allclose(slowed, 1 / (share + (1 - share) / factor), rtol=1e-5, atol=0):
        bounds = {"low_freq_factor": _LOW, "high_freq_factor": _HIGH, "original_max_position_embeddings": _TRAINED}
        return {"rope_type": "llama3", "factor": factor, **bounds}
    same = {"short_factor": slowed, "long_factor": slowed, "attention_factor": 1.0}
    return {"rope_type": "longrope", **same, "original_max_position_embeddings": context}
