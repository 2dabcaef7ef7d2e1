"""A model that drops tokens between its layers learns from the labels of those that stay, and from no others."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from serval.conversation.sequence import Modality, pad_batch
from serval.language.reading import gather_rows
from serval.training.objectives.next_token import NextToken
from serval.training.objectives.streaming import Streaming

from .tiny import stream, tiny_decoder

TEXT, VIDEO = Modality.TEXT, Modality.VIDEO
COMMA, CLOSE = 3, 4
PARTS = [(VIDEO, 0, 4), (TEXT, -1, 1), (VIDEO, 1, 4), (TEXT, -1, 3)]
LABELS = {3: COMMA, 8: CLOSE, 9: 7, 10: 8}
KEPT = [3, 4, 8, 9, 10, 11]


class LastOfEachFrame(nn.Module):
    """Of a frame's tokens only the last goes on."""

    def forward(self, hidden, reading):
        sequence = reading.sequence
        following = functional.pad(sequence.source[:, 1:], (0, 1), value=-2)
        stays = sequence.valid & ((sequence.modality == TEXT) | (sequence.source != following))
        return gather_rows(hidden, stays)[0], reading.select(stays)


@pytest.fixture
def pruning():
    decoder = tiny_decoder()
    decoder.after(0, LastOfEachFrame())
    return decoder


def test_states_come_with_the_tokens_that_they_are_of(pruning):
    row = stream(PARTS, LABELS)
    states, remaining = pruning.read(row)
    assert states.shape[:2] == remaining.labels.shape == (1, 6)
    assert remaining.position[0].tolist() == KEPT and torch.equal(remaining.labels[0], row.labels[0, KEPT])
    whole, same = tiny_decoder().read(row)
    assert same is row and whole.shape[1] == row.length


@pytest.mark.parametrize("objective", [NextToken(), Streaming((COMMA, CLOSE))])
def test_the_loss_is_over_the_labels_that_stay(pruning, objective):
    row = stream(PARTS, LABELS | {1: 20} if isinstance(objective, NextToken) else LABELS)  # a pruned token has one, too
    loss, logits = objective(pruning, row), pruning(row)[0]
    expected = functional.cross_entropy(logits[[0, 2, 3, 4]], torch.tensor([COMMA, CLOSE, 7, 8]))
    torch.testing.assert_close(loss.mean, expected)
    assert loss.weight == 4
    short = stream(PARTS[:2], {3: COMMA}, seed=1)
    together = objective(pruning, pad_batch([row, short]))  # rows keep different numbers of tokens
    torch.testing.assert_close(together.total, loss.total + objective(pruning, short).total, rtol=1e-5, atol=1e-5)
    assert together.weight == 5


@pytest.mark.parametrize("objective", [NextToken(), Streaming((COMMA, CLOSE))])
def test_it_trains(pruning, objective):
    row = stream(PARTS, LABELS)
    descent = torch.optim.Adam(pruning.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = objective(pruning, row).mean
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(each.grad.abs().sum() > 0 for each in pruning.layers.parameters())
