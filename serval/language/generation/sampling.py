"""How tokens are picked: the likeliest, or drawn by a row's own chance, so that it does not matter who else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from serval.language.generation.processors import keep_min_p, keep_top_k, keep_top_p, penalize_repetition, scale
from serval.refusal import Refusal

_LEVELS = 2**40  # of chance: fine enough for any token, and the greatest is below 1 when multiplied in double precision


@dataclass(frozen=True)
class Sampling:
    """How the next token is picked. What is listed is done in this order, as transformers does it.

    Attributes:
        repetition_penalty: divides the logits of tokens that were read or picked before; 1 for none.
        temperature: 0 takes the likeliest token every time, and the rest is of no account; above, tokens are drawn, and 1
            draws as the model was trained.
        top_k: draw only from so many likeliest tokens; 0 for all.
        top_p: draw only from the likeliest tokens that together have this probability; 1 for all.
        min_p: draw only from tokens at least this many times as likely as the likeliest; 0 for all.
        seed: the same seed draws the same tokens.

    Raises:
        Refusal: a number is not of its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, right, range_ in (
            ("temperature", 0 <= self.temperature < 100, "from 0 to below 100"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and up to 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < 100, "above 0 and below 100"),
            ("seed", 0 <= self.seed < 2**63, "from 0 to below 2 ** 63"),
        ):
            if not right:
                raise Refusal("sampling", f"{name} is {getattr(self, name)}", f"give a number {range_}")


class Sampler:
    """Picks the next token of every row of a batch, each by its own `Sampling`."""

    def __init__(self, settings: Sequence[Sampling], read: Sequence[Sequence[int]]) -> None:
        """``read``: the tokens that each row begins with, which the repetition penalty counts."""
        self._settings, self._read = list(settings), [list(ids) for ids in read]
        self._chance = [torch.Generator().manual_seed(each.seed) for each in settings]
        self._seen: Tensor | None = None  # (batch, vocabulary), once it is needed
        self._penalized = any(each.repetition_penalty != 1 for each in settings)
        self._drawn = any(each.temperature > 0 for each in settings)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with some rows only."""
        self._settings = [self._settings[row] for row in rows]
        self._chance = [self._chance[row] for row in rows]
        self._seen = None if self._seen is None else self._seen[list(rows)]
        self._read = [self._read[row] for row in rows]

    @torch.inference_mode()
    def __call__(self, logits: Tensor, allowed: Tensor | None = None) -> list[int]:
        """A token for each row.

        Args:
            logits: (batch, vocabulary), finite.
            allowed: (batch, vocabulary) bool, what may come; at least one token in each row.
        """
        settings = self._settings
        if self._penalized:
            self._seen = self._seen_in(logits) if self._seen is None else self._seen
            logits = penalize_repetition(logits.float(), self._seen, [each.repetition_penalty for each in settings])
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        tokens: list[int] = logits.argmax(dim=-1).tolist()
        if self._drawn:
            drawn = self._draw(self._warp(logits.float()))
            tokens = [one if each.temperature else best for each, one, best in zip(settings, drawn, tokens, strict=True)]
        if self._seen is not None:
            self._seen[range(len(tokens)), tokens] = True
        return tokens

    def _warp(self, logits: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of what is drawn from. What changes nothing in a row changes no bit of it."""
        settings = self._settings
        logits = scale(logits, [each.temperature or 1.0 for each in settings])
        logits = keep_top_k(logits, [each.top_k for each in settings])
        if any(each.top_p < 1 for each in settings):
            logits = keep_top_p(logits, [each.top_p for each in settings])
        if any(each.min_p > 0 for each in settings):
            logits = keep_min_p(logits, [each.min_p for each in settings])
        return logits

    def _draw(self, logits: Tensor) -> list[int]:
        """Where a row's chance falls among its tokens laid side by side, each as wide as it is likely."""
        chance = [torch.randint(_LEVELS, (1,), generator=own).item() / _LEVELS for own in self._chance]
        ends = logits.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        points = torch.tensor(chance, dtype=torch.float64, device=logits.device)[:, None] * ends[:, -1:]
        return torch.searchsorted(ends, points, right=True)[:, 0].tolist()

    def _seen_in(self, logits: Tensor) -> Tensor:
        """(batch, vocabulary) bool: what each row began with."""
        seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        for row, ids in zip(seen, self._read, strict=True):
            row[ids] = True
        return seen
