"""A question about a picture as experts read it: what the towers saw, then the words, and what the whole decoder is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence, cat
from serval.language.decoder import Decoder
from serval.language.generation.session import DecoderBatch
from serval.training.batches import Batch, Numbered, moved
from serval.training.objectives.loss import Loss
from serval.training.objectives.tokens import cross_entropies
from serval.training.randomness import mixed


@dataclass(frozen=True, eq=False)
class PictureQuestion:
    """
    Attributes:
        seen: of each tower or depth, (rows, columns, width) or (tokens, width).
        question: ids of its words.
        answer: ids, with the one that ends it; only for training.
        hint: ids that stand before the question.
        told: what the decoder is told with every call, by name: an instruction's embedding (width,), a task's number (1,).
    """

    seen: tuple[Tensor, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...] = ()
    hint: tuple[int, ...] = ()
    told: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of what was seen: questions of the same can be read in one batch."""
        return tuple(tuple(each.shape) for each in self.seen)


class Sees(Protocol):
    """A model that answers: MoME, LION."""

    decoder: Decoder

    def look(self, batch: Mapping[str, Any]) -> Tensor:
        """What the decoder reads of each picture, (batch, tokens, its width), of what `collated` made."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Words (batch, n) as the decoder reads them, (batch, n, its width)."""
        ...


def collated(questions: Sequence[PictureQuestion]) -> dict[str, Any]:
    """``seen`` and ``told`` as they are in `PictureQuestion`, with a batch in front; ``question`` and its ``asked`` (batch,
    n), True at its words; ``ids`` of hint, question and answer with ``labels`` and ``valid``, all padded on the right.

    Raises ``ValueError`` where pictures were not seen in the same shape.
    """
    if len({each.shapes for each in questions}) != 1:
        raise ValueError(f"Pictures of {len({each.shapes for each in questions})} shapes, or none, are no batch.")
    words = [(*each.hint, *each.question, *each.answer) for each in questions]
    learned = [(IGNORED,) * (len(all_) - len(one.answer)) + one.answer for all_, one in zip(words, questions, strict=True)]
    labels = _padded([(*each[1:], IGNORED) for each in learned], IGNORED)
    question, ids = [each.question for each in questions], _padded(words)
    return {
        "seen": [torch.stack(parts) for parts in zip(*(each.seen for each in questions), strict=True)],
        "told": {name: torch.stack([each.told[name] for each in questions]) for name in questions[0].told},
        "question": _padded(question),
        "asked": _lengths(question),
        "ids": ids,
        "labels": labels,
        "valid": _lengths(words),
    }


def as_read(model: Sees, batch: Mapping[str, Any]) -> MultimodalSequence:
    """The picture, then the words: (batch, tokens + n), with the labels of the answer."""
    pictures = _sequence(model.look(batch), Modality.IMAGE)
    ids = batch["ids"]
    return cat([pictures, _sequence(model.embed(ids), Modality.TEXT, pictures.length, batch["labels"], batch["valid"])])


@dataclass(frozen=True)
class Answers:
    """The mean cross-entropy of answers' tokens."""

    def __call__(self, model: Sees, batch: Batch) -> Loss:
        assert isinstance(batch, Mapping)
        states, read = model.decoder.read(as_read(model, batch), features=batch["told"])
        wanted = read.labels != IGNORED
        losses = cross_entropies(states[wanted], read.labels[wanted], model.decoder.logits)
        return Loss(losses.sum(), losses.new_tensor(len(losses)))


def answers(model: Sees, questions: Sequence[PictureQuestion], *, end: int, most: int = 16) -> list[list[int]]:
    """Ids of an answer to each, the likeliest token every time, without the one that ends it.

    Raises `Refusal` where a picture, question and answer are longer than the decoder's context.
    """
    groups = defaultdict(list)
    for number, each in enumerate(questions):
        groups[each.shapes].append(number)
    said: list[list[int]] = [[] for _ in questions]
    for numbers in groups.values():
        for number, ids in zip(numbers, _said(model, [questions[number] for number in numbers], end, most), strict=True):
            said[number] = ids
    return said


@torch.inference_mode()
def _said(model: Sees, questions: Sequence[PictureQuestion], end: int, most: int) -> list[list[int]]:
    """The answers of one batch. The last word of each question is read behind the padding of all."""
    device = model.decoder.device
    batch = moved(collated([replace(each, answer=()) for each in questions]), device)
    sequence = as_read(model, batch)
    lasts = sequence.length - batch["ids"].shape[1] + batch["valid"].sum(1, keepdim=True) - 1
    session = DecoderBatch(model.decoder, len(questions), features=batch["told"])
    session.read(sequence.select(torch.arange(sequence.length, device=device) < lasts))
    unread = torch.tensor([each.question[-1:] for each in questions], device=device)
    said = []
    for _ in range(most):
        said.append(session.read(unread).argmax(-1))
        unread = said[-1][:, None]
        if bool(torch.stack(said).eq(end).any(0).all()):
            break
    rows = torch.stack(said, dim=1).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def batches(questions: Sequence[PictureQuestion], size: int, *, seed: int) -> Numbered:
    """Shuffled anew in every epoch, in batches of pictures that were seen in one shape; some hold fewer than ``size``."""
    groups = defaultdict(list)
    for number, each in enumerate(questions):
        groups[each.shapes].append(number)
    length = sum(-(-len(group) // size) for group in groups.values())

    @lru_cache(maxsize=1)
    def order(epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(mixed(seed, epoch))
        made = []
        for group in groups.values():
            drawn = [group[each] for each in torch.randperm(len(group), generator=generator).tolist()]
            made += [drawn[start : start + size] for start in range(0, len(drawn), size)]
        return [made[each] for each in torch.randperm(len(made), generator=generator).tolist()]

    def make(number: int) -> Batch:
        epoch, within = divmod(number, length)
        return collated([questions[each] for each in order(epoch)[within]])

    return Numbered(make, length)


def _sequence(
    embeds: Tensor, modality: Modality, start: int = 0, labels: Tensor | None = None, valid: Tensor | None = None
) -> MultimodalSequence:
    kinds = torch.full(embeds.shape[:2], int(modality), device=embeds.device)
    return MultimodalSequence(
        embeds=embeds,
        modality=kinds,
        source=torch.full_like(kinds, 0 if modality == Modality.IMAGE else -1),
        time=torch.full(kinds.shape, torch.nan, dtype=torch.float64, device=embeds.device),
        position=torch.arange(start, start + kinds.shape[1], device=embeds.device).float().expand(kinds.shape),
        labels=torch.full_like(kinds, IGNORED) if labels is None else labels,
        valid=torch.ones_like(kinds, dtype=torch.bool) if valid is None else valid,
    )


def _padded(rows: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.int64)


def _lengths(rows: Sequence[Sequence[int]]) -> Tensor:
    """(rows, longest) bool, True where there is something."""
    return torch.arange(max(map(len, rows))) < torch.tensor([len(row) for row in rows])[:, None]
