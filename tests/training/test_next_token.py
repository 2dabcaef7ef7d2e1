"""Language modelling: values reckoned by hand, and nothing scored that has no label."""

import math

import pytest
import torch
from torch.nn import functional

from serval.conversation.sequence import IGNORED, Modality, pad_batch
from serval.training.objectives.loss import Loss, combined
from serval.training.objectives.next_token import NextToken
from serval.training.objectives.tokens import cross_entropies

from .tiny import Told, stream, tiny_decoder

TEXT = Modality.TEXT


def with_chances(chances: list[float], labels: dict[int, int]):
    """A row whose token p gives label 0 the chance that is listed, and label 1 the rest."""
    row = stream([(TEXT, -1, len(chances))], labels)
    row.embeds.fill_(-1e9)
    for place, chance in enumerate(chances):
        row.embeds[0, place, :2] = torch.tensor([math.log(chance), math.log(1 - chance)])
    return row


# rows: -log 1/2 four times, and -log 1/4 once; the last token of the second row is not labelled
ROWS = pad_batch([with_chances([0.5] * 4, dict.fromkeys(range(4), 0)), with_chances([0.25, 0.9], {0: 0})])
HALF, QUARTER = math.log(2), math.log(4)


@pytest.mark.parametrize(
    ("reduction", "mean", "weight"),
    [
        ("token", (4 * HALF + QUARTER) / 5, 5),
        ("sample", (HALF + QUARTER) / 2, 2),
        ("square", (2 * HALF + QUARTER) / 3, 3),  # roots of the lengths: 2 and 1
    ],
)
def test_the_three_means_by_hand(reduction, mean, weight):
    loss = NextToken(reduction)(Told(), ROWS)
    assert loss.mean.item() == pytest.approx(mean, rel=1e-6)
    assert loss.weight.item() == pytest.approx(weight)


@pytest.mark.parametrize("reduction", ["token", "sample", "square"])
def test_rows_together_or_apart_are_the_same(reduction):
    whole = NextToken(reduction)(Told(), ROWS)
    apart = [NextToken(reduction)(Told(), ROWS.row(index)) for index in range(2)]
    assert sum(each.total for each in apart).item() == pytest.approx(whole.total.item())
    assert sum(each.weight for each in apart).item() == pytest.approx(whole.weight.item())


def test_logits_are_made_at_labels_only():
    model = Told()
    NextToken()(model, ROWS)
    assert model.asked == [5]


def test_the_loss_and_its_gradient_are_those_of_all_logits():
    decoder, ids = tiny_decoder(), torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 0, 0]])
    labels = torch.tensor([[1, 4, -100, 5, 9, 2, 6, -100], [7, 1, 8, -100, 8, 3, 3, 3]])
    valid = torch.tensor([[True] * 8, [True] * 5 + [False] * 3])  # labels at padding are none
    batch = {"ids": ids, "labels": labels, "valid": valid}
    gradients = []
    for loss in (
        NextToken()(decoder, batch).mean,
        functional.cross_entropy(decoder(ids, valid=valid).flatten(0, 1), labels.masked_fill(~valid, IGNORED).flatten()),
    ):
        gradients.append([loss, *torch.autograd.grad(loss, list(decoder.parameters()))])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_many_labels_are_scored_part_by_part_with_the_same_numbers():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(10, 6, generator=generator).requires_grad_()
    head = torch.randn(7, 6, generator=generator).requires_grad_()
    labels = torch.arange(10) % 7
    asked = []

    def logits(some):
        asked.append(len(some))
        return some @ head.T

    whole = cross_entropies(states, labels, logits, rows=10)
    parts = cross_entropies(states, labels, logits, rows=4)
    assert asked == [10, 4, 4, 2]
    torch.testing.assert_close(parts, whole)
    mine, theirs = (torch.autograd.grad(each.sum(), [states, head]) for each in (parts, whole))
    torch.testing.assert_close(mine, theirs)
    assert sorted(asked) == [2, 2, 4, 4, 4, 4, 10]  # made again, not kept


def test_narrow_logits_are_scored_in_float32():
    logits = torch.tensor([[4.0, 0.0]], dtype=torch.bfloat16)
    loss = cross_entropies(logits, torch.tensor([0]), lambda states: states)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)  # bfloat16 has three digits


def test_a_batch_without_labels_weighs_nothing_and_has_a_gradient(decoder):
    batch = {"ids": torch.tensor([[1, 2, 3]]), "labels": torch.full((1, 3), IGNORED)}
    loss = NextToken()(decoder, batch)
    assert (loss.total.item(), loss.weight.item()) == (0, 0)
    loss.total.backward()
    assert not decoder.embed_tokens.weight.grad.any()


def test_losses_are_combined_by_their_means():
    number = torch.tensor
    text = Loss(number(6.0), number(3.0), {"text": (number(6.0), number(3.0))})
    both = combined(text, {"gate": (0.5, Loss(number(8.0), number(2.0)))})
    assert both.mean.item() == pytest.approx(2 + 0.5 * 4)
    assert {name: (a / b).item() for name, (a, b) in both.parts.items()} == {"text": 2, "gate": 4}
    empty = combined(text, {"gate": (0.5, Loss(number(0.0), number(0.0)))})
    assert empty.mean.item() == 2
