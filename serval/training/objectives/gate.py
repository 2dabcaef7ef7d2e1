"""A gate beside the language model that is asked at every frame: speak, or not?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from serval.conversation.sequence import IGNORED
from serval.training.batches import Batch
from serval.training.objectives.balance import PLAIN, SPEAK, Balance
from serval.training.objectives.loss import Loss


def gate_loss(logits: Tensor, targets: Tensor, balance: Balance = PLAIN) -> Loss:
    """Binary cross-entropy of frames, balanced, over the number of frames that are taught.

    Args:
        logits: (…) of speaking, one for each frame, of any float type.
        targets: (…) int64, `SILENT`, `SPEAK` or `IGNORED`, as `frame_targets` makes them.

    Raises:
        ValueError: shapes that differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits: {tuple(logits.shape)}, expected one for each target {tuple(targets.shape)}")
    taught = targets != IGNORED
    classes, logits = targets[taught], logits[taught].float()
    losses = functional.binary_cross_entropy_with_logits(logits, classes.float(), reduction="none")
    speaking = losses.detach()[classes == SPEAK]
    parts = {"speaking": (speaking.sum(), losses.new_tensor(len(speaking)))}
    return Loss(balance(losses, classes).sum(), losses.new_tensor(len(losses)), parts)


@dataclass(frozen=True)
class Gate:
    """`gate_loss` of a batch with ``targets``: Dispider's reaction head, StreamMind's gate, MMDuet's heads one by one.

    Attributes:
        logits: from the model and a batch to (batch, frames) logits of speaking.
    """

    logits: Callable[[Any, Mapping[str, Any]], Tensor]
    balance: Balance = PLAIN

    def __call__(self, model: Any, batch: Batch) -> Loss:
        assert isinstance(batch, Mapping)
        return gate_loss(self.logits(model, batch), batch["targets"], self.balance)
