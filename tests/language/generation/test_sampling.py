"""Tokens are drawn as often as they are likely, from what the settings leave, by each row's own chance."""

import math

import pytest
import torch

from serval.language.generation.generate import generate
from serval.language.generation.sampling import Sampler, Sampling
from serval.refusal import Refusal

from .conftest import Scripted


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    session = Scripted(logits.tolist())
    drawn = list(generate(session, [0], stops=(), most=2000, sampling=Sampling(temperature=1.0)))
    assert torch.allclose(torch.bincount(torch.tensor(drawn), minlength=4) / 2000, logits.exp(), atol=0.03)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_p": 0.4}, {0}),
        ({"top_p": 0.6}, {0, 1}),
        ({"top_p": 0.95}, {0, 1, 2, 3}),
        ({"top_k": 2}, {0, 1}),
        ({"min_p": 0.29}, {0, 1, 2}),
        ({"min_p": 0.6}, {0}),
        ({"top_k": 3, "top_p": 0.8}, {0, 1}),  # of the three alone, the second reaches 0.8
        ({}, {0, 1, 2, 3}),
    ],
)
def test_only_what_is_left_is_drawn_and_all_of_it(settings, kept):
    session = Scripted(torch.tensor([0.5, 0.25, 0.15, 0.1]).double().log().tolist())
    sampling = Sampling(temperature=1.0, **settings)
    assert set(generate(session, [0], stops=(), most=150, sampling=sampling)) == kept


def test_a_low_temperature_is_almost_greedy():
    session = Scripted([1.0, 1.1])
    assert set(generate(session, [0], stops=(), most=100, sampling=Sampling(temperature=0.005))) == {1}


def test_what_is_not_allowed_is_neither_picked_nor_drawn():
    logits = torch.tensor([[9.0, 1.0, 0.5, 8.0]] * 2)
    allowed = torch.tensor([[False, True, True, False]] * 2)
    sampler = Sampler([Sampling(), Sampling(temperature=1.0)], [[0], [0]])
    picked = torch.tensor([sampler(logits, allowed) for _ in range(50)])
    assert picked[:, 0].tolist() == [1] * 50 and set(picked[:, 1].tolist()) == {1, 2}


def test_a_row_draws_what_it_would_alone():
    settings = [Sampling(temperature=1.0, seed=seed, top_k=seed % 3 * 5, repetition_penalty=1 + seed % 2) for seed in range(4)]
    logits = torch.randn(12, 4, 30, generator=torch.Generator().manual_seed(0))
    together = Sampler(settings, [[seed] for seed in range(4)])
    alone = [Sampler([each], [[seed]]) for seed, each in enumerate(settings)]
    rows = [0, 1, 2, 3]
    for step, all_rows in enumerate(logits):
        if step == 5:
            rows = [3, 1]
            together.select(rows)
        assert together(all_rows[rows]) == [alone[row](all_rows[row : row + 1])[0] for row in rows]


def test_tokens_that_underflow_are_never_drawn():
    logits = torch.full((1, 50), -1000.0)
    logits[0, 20] = 0.0
    sampler = Sampler([Sampling(temperature=1.0)], [[0]])
    assert {sampler(logits)[0] for _ in range(200)} == {20}


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"seed": -1},
        {"seed": 2**63},
    ],
)
def test_what_is_out_of_range_is_refused_by_name(bad):
    with pytest.raises(Refusal, match=f"{next(iter(bad))} is "):
        Sampling(**bad)
