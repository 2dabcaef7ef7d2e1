"""Tokens come as asked: the likeliest or drawn by seed, up to a stop, a number, or a word from outside."""

import pytest
import torch

from serval.language.generate import DecoderSession, Sampling, generate
from serval.refusal import Refusal


class Scripted:
    """A session whose logits are given beforehand."""

    def __init__(self, *logits: list[float]) -> None:
        self._logits, self.heard = list(logits), []

    def read(self, ids):
        self.heard.append(list(ids))
        return torch.tensor(self._logits[min(len(self.heard), len(self._logits)) - 1])


def test_greedy_is_transformers_greedy(tiny):
    ids = [5, 17, 3]
    expected = tiny.reference.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None)
    assert list(generate(DecoderSession(tiny.decoder, 50), ids, stops=(), most=20)) == expected[0, 3:].tolist()


def test_it_stops_at_a_stop_and_does_not_give_it():
    session = Scripted([0, 1, 0], [1, 0, 0], [0, 0, 1])
    assert list(generate(session, [7, 8], stops={2}, most=9)) == [1, 0]
    assert session.heard == [[7, 8], [1], [0]]


def test_it_gives_no_more_than_asked():
    session = Scripted([0, 1])
    assert list(generate(session, [3], stops=(), most=4)) == [1] * 4
    assert len(session.heard) == 4  # the last token is not read in vain
    assert list(generate(session, [3], stops=(), most=0)) == []


@pytest.mark.parametrize("polls", range(9))
def test_it_ends_as_soon_as_it_is_cancelled(polls):
    asked = iter([False] * polls + [True] * 9)
    session = Scripted([0, 1])
    assert len(list(generate(session, [3], stops=(), most=100, cancelled=lambda: next(asked)))) == polls // 2


def test_the_same_seed_draws_the_same_and_others_draw_others(tiny):
    def drawn(seed):
        sampling = Sampling(temperature=1.0, seed=seed)
        return list(generate(DecoderSession(tiny.decoder, 40), [1], stops=(), most=20, sampling=sampling))

    assert drawn(4) == drawn(4)
    assert len({tuple(drawn(seed)) for seed in range(4)}) == 4


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    session = Scripted(logits.tolist())
    count = torch.bincount(
        torch.tensor(list(generate(session, [0], stops=(), most=4000, sampling=Sampling(temperature=1.0)))), minlength=4
    )
    assert torch.allclose(count / 4000, logits.exp(), atol=0.03)


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, {0}), (0.5, {0}), (0.51, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_likeliest_that_reach_it(top_p, kept):
    session = Scripted(torch.tensor([0.5, 0.25, 0.15, 0.1]).double().log().tolist())
    sampling = Sampling(temperature=1.0, top_p=top_p)
    assert set(generate(session, [0], stops=(), most=300, sampling=sampling)) == kept


def test_a_low_temperature_is_almost_greedy():
    session = Scripted([1.0, 1.1])
    assert set(generate(session, [0], stops=(), most=200, sampling=Sampling(temperature=0.005))) == {1}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_end_it(bad):
    given = generate(Scripted([0.0, 1.0], [0.0, bad]), [0], stops=(), most=9)
    assert next(given) == 1
    with pytest.raises(Refusal, match="finite"):
        next(given)


def test_a_conversation_that_outgrows_its_session_is_refused(tiny):
    given = generate(DecoderSession(tiny.decoder, 6), [1, 2, 3], stops=(), most=9)
    assert len([next(given) for _ in range(4)]) == 4
    with pytest.raises(Refusal, match="6 is the limit"):
        next(given)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="prompt"):
        next(generate(Scripted([0.0]), [], stops=(), most=1))
    for bad in ({"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.5}):
        with pytest.raises(Refusal):
            Sampling(**bad)
