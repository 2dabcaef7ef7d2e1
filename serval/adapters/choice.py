"""What a caller says about who takes which branch: ids or shares, as shares."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def shares_of(choice: Tensor | None, count: int, dtype: torch.dtype) -> Tensor | None:
    """Ids (…), whole numbers from -1 (none) to ``count`` - 1, or float shares (…, count) → shares (…, count).

    None stays None, all of the only one. Raises ``ValueError`` for ids out of range, shares of another count, and for no
    choice among several.
    """
    if choice is None:
        if count > 1:
            raise ValueError(f"There are {count} to choose from: give ids or shares.")
        return None
    if choice.is_floating_point():
        if choice.shape[-1:] != (count,):
            raise ValueError(f"Shares of shape {tuple(choice.shape)} for {count}.")
        return choice
    if choice.numel() and not -1 <= int(choice.min()) <= int(choice.max()) < count:
        raise ValueError(f"Ids from {int(choice.min())} to {int(choice.max())} for {count}.")
    return functional.one_hot(choice + 1, count + 1)[..., 1:].to(dtype)
