"""Learning when to speak in a stream: silence is a token that frames are taught to be followed by.

VideoLLM-online (Chen et al. 2024, arXiv:2406.11816) and LION-FS (Li et al. 2025, arXiv:2503.03663), with labels made from what
tokens are, not from places in a string, and no lesson in guessing when a person will ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence
from serval.language.attention_pattern import AttentionPattern
from serval.training.batches import Batch
from serval.training.objectives.balance import PLAIN, SILENT, SPEAK, Balance
from serval.training.objectives.loss import Loss
from serval.training.objectives.tokens import AsSequence, as_sequence, learned


@dataclass(frozen=True)
class Segment:
    """Frames in a row, and who speaks then.

    Attributes:
        then: "end" where nothing follows.
        learn: whether its frames are taught, or how many of the first ones.
    """

    frames: int
    then: Literal["assistant", "user", "end"]
    learn: bool | int = True


def frame_targets(segments: Sequence[Segment]) -> list[int]:
    """One class for each frame of a conversation: `SILENT`, `SPEAK`, or `IGNORED` where it is not taught.

    The last frame before the assistant's words is one to speak at. The last one before a user's words teaches nothing: nobody
    can see in a picture that somebody is about to ask, and VideoLLM-online teaches to stop there for no reason.
    """
    last = {"assistant": SPEAK, "user": IGNORED, "end": SILENT}
    targets: list[int] = []
    for segment in segments:
        its = [SILENT] * (segment.frames - 1) + [last[segment.then]] * (segment.frames > 0)
        taught = segment.frames * segment.learn if isinstance(segment.learn, bool) else segment.learn
        targets += its[:taught] + [IGNORED] * (segment.frames - taught)
    return targets


def frame_ends(sequence: MultimodalSequence) -> Tensor:
    """(batch, sources) int64: where the last token of each visual medium is, by its ``source``; -1 where there is none."""
    visual = (sequence.modality == Modality.VIDEO) | (sequence.modality == Modality.IMAGE)
    visual &= sequence.valid & (sequence.source >= 0)
    sources = int(sequence.source.masked_fill(~visual, -1).max()) + 1 if sequence.length else 0
    ends = torch.full((sequence.batch, sources + 1), -1, device=visual.device)
    place = torch.arange(sequence.length, device=visual.device).expand(sequence.batch, -1)
    # the others go to a column of their own, which is cut off
    return ends.scatter_reduce(1, torch.where(visual, sequence.source, sources), place, "amax")[:, :sources]


def streaming_labels(sequence: MultimodalSequence, targets: Tensor, sentinels: Sequence[int]) -> MultimodalSequence:
    """The sequence with a label at the last token of each frame that is taught; other labels stay.

    Args:
        targets: (batch, sources) int64 classes, by source; `IGNORED` where nothing is taught, or where there is no frame.
        sentinels: for each class the id of the token that says so: the separator, or the end of text, for silence; what closes
            the stream for speaking; more for more states.

    Raises:
        ValueError: a target for a frame that is not there, or of a class without a sentinel.
    """
    ends, taught = frame_ends(sequence), targets != IGNORED
    if bool((taught & ~((targets >= 0) & (targets < len(sentinels)))).any()):
        raise ValueError(f"targets: up to {int(targets.max())}, expected classes of {len(sentinels)} sentinels")
    if bool(taught[:, ends.shape[1] :].any()) or bool((taught[:, : ends.shape[1]] & (ends[:, : taught.shape[1]] < 0)).any()):
        raise ValueError(f"targets: {tuple(targets.shape)} name frames that are not in the sequence")
    rows, frames = torch.nonzero(taught, as_tuple=True)
    said = torch.tensor(list(sentinels), device=targets.device)[targets[rows, frames]]
    return replace(sequence, labels=sequence.labels.index_put((rows, ends[rows, frames]), said))


@dataclass(frozen=True)
class Streaming:
    """(Σ text -log p + frames · Σ frames' balanced -log p) / (number of labels).

    Every label counts once in the divisor, whatever it weighs. With ``frames`` 0 the frames' labels are left out of it, so this
    is plain language modelling.

    Attributes:
        sentinels: as in `streaming_labels`.
        frames: what the frames' losses weigh. The paper found 1 best.
        balance: between silence and speech.
        sequence, pattern: as in `NextToken`.
    """

    sentinels: tuple[int, ...]
    frames: float = 1.0
    balance: Balance = PLAIN
    sequence: AsSequence = as_sequence
    pattern: AttentionPattern | None = None

    def __call__(self, model: Any, batch: Batch) -> Loss:
        found = learned(model, self.sequence(model, batch), self.pattern)
        losses, media = found.losses, found.media
        known = torch.tensor(self.sentinels, device=losses.device)
        match = found.labels[media][:, None] == known
        if not bool(match.any(1).all()):
            raise ValueError(f"labels: a frame is taught a token that is none of the sentinels {self.sentinels}")
        text, frames, classes = losses[~media], losses[media], match.int().argmax(1)
        total = text.sum() + self.frames * self.balance(frames, classes).sum()
        weight = losses.new_tensor(len(losses) if self.frames else len(text))
        parts = {"text": _part(text), "frames": _part(frames), "speaking": _part(frames[classes != SILENT])}
        return Loss(total, weight, parts)


def _part(losses: Tensor) -> tuple[Tensor, Tensor]:
    return losses.detach().sum(), losses.new_tensor(len(losses))
