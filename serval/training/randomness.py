"""Seeds from numbers, and the state of every generator of random numbers as plain tensors."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def mixed(*numbers: int) -> int:
    """One seed from several numbers: neighbours get seeds that have nothing in common."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # torch takes 63 bits


def seed_all(*numbers: int) -> None:
    """Seed PyTorch, on all devices, NumPy and Python."""
    seed = mixed(*numbers)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # a recipe's data may draw from it
    random.seed(seed)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """What the generators of this process, and the one of ``device``, will draw next: tensors on the CPU, by name."""
    version, words, gauss = random.getstate()
    assert version == 3
    legacy = np.random.get_state(legacy=False)
    assert isinstance(legacy, dict)
    numpy, rest = legacy["state"], (legacy["has_gauss"], legacy["gauss"])
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(words, dtype=torch.int64),
        "python.gauss": _pair(gauss),
        "numpy": torch.tensor([*numpy["key"].tolist(), numpy["pos"]], dtype=torch.int64),
        "numpy.gauss": _pair(rest[1] if rest[0] else None),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on drawing from where `random_state` was asked."""
    torch.set_rng_state(state["torch"].clone())  # it would read a view from the beginning of its memory
    random.setstate((3, tuple(state["python"].tolist()), _value(state["python.gauss"])))
    *key, place = state["numpy"].tolist()
    gauss = _value(state["numpy.gauss"])
    np.random.set_state(("MT19937", np.array(key, np.uint32), place, int(gauss is not None), gauss or 0.0))
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].clone(), device)


def _pair(value: float | None) -> Tensor:
    """(2,): whether there is a number, and the number. Of one shape, so that processes can gather it."""
    return torch.tensor([value is not None, value or 0.0], dtype=torch.float64)


def _value(pair: Tensor) -> float | None:
    there, value = pair.tolist()
    return value if there else None
