"""Language modelling: the mean cross-entropy of the labels of a sequence, over tokens, over samples, or between both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from serval.language.attention_pattern import AttentionPattern
from serval.training.batches import Batch
from serval.training.objectives.loss import Loss
from serval.training.objectives.tokens import AsSequence, as_sequence, learned

Reduction = Literal["token", "sample", "square"]
_POWER: dict[Reduction, float] = {"token": 0.0, "sample": 1.0, "square": 0.5}


@dataclass(frozen=True)
class NextToken:
    """-log p of each label, n^-a of a row with n labels weighing each: (Σ n^-a · loss) / (Σ n^-a).

    Attributes:
        reduction: "token" (a = 0) is the mean over tokens, so long rows count most; "sample" (a = 1) the mean over rows' means;
            "square" (a = ½) weighs a row by the root of its length (InternVL 2.5, Chen et al. 2024, arXiv:2412.05271; V2PE).
        sequence: from the model and a batch to what it reads.
        pattern: of attention, where it is not the model's own.
    """

    reduction: Reduction = "token"
    sequence: AsSequence = as_sequence
    pattern: AttentionPattern | None = None

    def __call__(self, model: Any, batch: Batch) -> Loss:
        sequence = self.sequence(model, batch)
        found = learned(model, sequence, self.pattern)
        lengths = torch.bincount(found.rows, minlength=sequence.batch)
        weights = lengths[found.rows].float().pow(-_POWER[self.reduction])
        return Loss((weights * found.losses).sum(), weights.sum())
