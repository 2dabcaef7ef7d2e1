"""Cross-entropy of the tokens that are to be learned, and of no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence
from serval.language.attention_pattern import AttentionPattern
from serval.training.batches import Batch

AsSequence = Callable[[Any, Batch], MultimodalSequence]
"""How a model makes the sequence that it reads out of a batch, inside the pass that gradients go through."""

ROWS = 1024
"""Tokens whose logits exist at once. A vocabulary of 49,152 in float32 then takes 200 MB, not gigabytes."""


class Learned(NamedTuple):
    """The tokens of a batch that have a label, row by row.

    Attributes:
        losses: (count,) float32 cross-entropies.
        labels: (count,) int64.
        rows: (count,) int64, which row of the batch each is in.
        media: (count,) bool, whether the label is a media token's.
    """

    losses: Tensor
    labels: Tensor
    rows: Tensor
    media: Tensor


def as_sequence(model: Any, batch: Batch) -> MultimodalSequence:
    """A sequence as it is, in the model's type; or ``ids`` and ``labels``, both (batch, length) int64, with ``valid`` (batch,
    length) bool where rows are padded, as a `Decoder` embeds them."""
    if isinstance(batch, Mapping):
        return replace(model.sequence(batch["ids"], valid=batch.get("valid")), labels=batch["labels"])
    return batch.to(dtype=model.dtype)


def learned(model: Any, sequence: MultimodalSequence, pattern: AttentionPattern | None = None, rows: int = ROWS) -> Learned:
    """Read ``sequence`` and score its labels.

    Args:
        model: has a decoder's ``read(sequence)`` and ``logits(states)``. Labels of tokens that it prunes are not scored.
        pattern: of attention, where it is not the model's own.
    """
    states, sequence = model.read(sequence) if pattern is None else model.read(sequence, pattern=pattern)
    wanted = (sequence.labels != IGNORED) & sequence.valid
    labels, media = sequence.labels[wanted], (sequence.modality != Modality.TEXT)[wanted]
    return Learned(cross_entropies(states[wanted], labels, model.logits, rows), labels, torch.nonzero(wanted)[:, 0], media)


def cross_entropies(states: Tensor, labels: Tensor, logits: Callable[[Tensor], Tensor], rows: int = ROWS) -> Tensor:
    """(count,) float32 for states (count, width) and labels (count,), whatever type the logits are of.

    With more than ``rows`` of them, logits are made a part at a time, and again in the backward pass.
    """

    def score(some: Tensor, their: Tensor) -> Tensor:
        return functional.cross_entropy(logits(some).float(), their, reduction="none")

    if not len(labels):
        return states.float().sum(-1)  # none, but of the graph
    if len(labels) <= rows:
        return score(states, labels)
    starts = range(0, len(labels), rows)
    parts = [(states[start : start + rows], labels[start : start + rows]) for start in starts]
    return torch.cat([checkpoint(score, some, their, use_reentrant=False) for some, their in parts])
