"""Tokens come as asked: the likeliest or drawn by seed, up to a stop, a number, or a word from outside."""

import copy
import math
import re

import pytest
import torch

from serval.language.generation.constraint import Constraint, ConstraintVocabulary
from serval.language.generation.generate import generate, stream
from serval.language.generation.request import End, Request
from serval.language.generation.sampling import Sampling
from serval.language.generation.session import PIECE, DecoderSession
from serval.refusal import Refusal

from .conftest import Scripted


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


def test_a_long_prompt_is_read_in_pieces_and_can_be_cancelled_between_them():
    session, prompt = Scripted([0, 1]), list(range(2 * PIECE + 5))
    assert list(generate(session, prompt, stops=(), most=1)) == [1]
    assert session.heard == [prompt[:PIECE], prompt[PIECE : 2 * PIECE], prompt[2 * PIECE :]]
    session = Scripted([0, 1])
    events = list(stream(session, Request(prompt, 5), cancelled=lambda: len(session.heard) == 2))
    assert events == [End(0, "cancelled")] and len(session.heard) == 2


def test_pieces_of_a_prompt_say_what_one_reading_says(tiny, monkeypatch):
    monkeypatch.setattr("serval.language.generation.batch.PIECE", 7)
    ids = torch.randint(0, 97, (30,), generator=torch.Generator().manual_seed(5)).tolist()
    expected = tiny.reference.generate(torch.tensor([ids]), max_new_tokens=9, do_sample=False, eos_token_id=None)
    assert list(generate(DecoderSession(tiny.decoder, 40), ids, stops=(), most=9)) == expected[0, 30:].tolist()


def test_the_same_seed_draws_the_same_and_others_draw_others(tiny):
    def drawn(seed):
        sampling = Sampling(temperature=1.0, seed=seed)
        return list(generate(DecoderSession(tiny.decoder, 40), [1], stops=(), most=20, sampling=sampling))

    assert drawn(4) == drawn(4)
    assert len({tuple(drawn(seed)) for seed in range(4)}) == 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_end_it(bad):
    given = generate(Scripted([0.0, 1.0], [0.0, bad]), [0], stops=(), most=9)
    assert next(given) == 1
    with pytest.raises(Refusal, match="finite"):
        next(given)


def test_what_a_session_cannot_hold_is_not_begun(tiny):
    session = DecoderSession(tiny.decoder, 6)
    with pytest.raises(Refusal, match="12 tokens long, and 6 is the limit"):
        next(generate(session, [1, 2, 3], stops=(), most=9))
    assert session.room == 6
    assert len(list(generate(session, [1, 2, 3], stops=(), most=3))) == 3


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="prompt"):
        next(generate(Scripted([0.0]), [], stops=(), most=1))
    with pytest.raises(ValueError, match="tokenizer"):
        next(stream(Scripted([0.0]), Request([1], 1, stop_texts=["."])))


def test_logprobs_are_the_models_own(words):
    logits = [0.5, 2.0, -1.0, 1.0] + [-9.0] * (words.vocabulary_size - 4)
    own = torch.tensor(logits).log_softmax(-1)
    only = Constraint.regex(re.escape(words.decode([3])) + "+", ConstraintVocabulary(words))
    sampling = Sampling(temperature=0.5, top_k=1, repetition_penalty=1.5)
    request = Request([0], 2, sampling=sampling, constraint=only, logprobs=2)
    first, second, end = stream(Scripted(logits), request)
    for step in (first, second):
        assert step.token == 3 and step.logprob == pytest.approx(own[3].item())
        assert [token for token, _ in step.top] == [1, 3]
        assert [logprob for _, logprob in step.top] == pytest.approx([own[1].item(), own[3].item()])
    assert end == End(0, "length")
    plain, bare = (next(stream(Scripted(logits), Request([0], 1, logprobs=asked))) for asked in (None, 0))
    assert plain.logprob is None and bare.logprob == pytest.approx(own[1].item()) and plain.top == bare.top == ()


def test_the_penalty_counts_what_was_read_before(tiny):
    logits, penalty = [1.0, 0.9, 0.8], Sampling(repetition_penalty=2.0)
    assert list(generate(Scripted(logits), [2], stops=(), most=3, sampling=penalty)) == [0, 1, 0]
    assert list(generate(Scripted(logits), [2], stops=(), most=3, sampling=penalty, before=[0])) == [1, 0, 0]


def spoken(words, text):
    """One-hot logits that say ``text`` byte by byte, then begin it anew."""
    return [torch.nn.functional.one_hot(torch.tensor(token), words.vocabulary_size).tolist() for token in words.encode(text)]


def test_text_comes_in_whole_characters_and_is_cut_at_stop_texts(words):
    request = Request([0], 40, stop_texts=["END", "xyz"])
    *steps, end = stream(Scripted(*spoken(words, "añ€ E EN ENDE")), request, tokenizer=words)
    assert "".join(step.text for step in steps) == "añ€ E EN " and end == End(0, "stop")
    assert [step.text for step in steps[:7]] == ["a", "", "ñ", "", "", "€", " "]
    assert steps[-1].text == "" and len(steps) == len("añ€ E EN END".encode())


def test_what_was_held_back_is_told_at_the_end_but_never_half_a_character(words):
    *steps, end = stream(Scripted(*spoken(words, "an EN€")), Request([0], 6, stop_texts=["END"]), tokenizer=words)
    assert "".join(step.text for step in steps) == "an " and end == End(0, "length", "EN")


def test_a_session_goes_on_from_a_cache_and_is_told_features_with_every_reading(tiny):
    ids, cache = [3, 1, 4, 1, 5, 9, 2, 6], tiny.decoder.new_cache(20)
    with torch.inference_mode():
        tiny.decoder(torch.tensor([ids[:5]]), cache)
    session, whole = DecoderSession(tiny.decoder, cache), DecoderSession(tiny.decoder, 20)
    assert (session.room, whole.room) == (15, 20)
    torch.testing.assert_close(session.read(ids[5:]), whole.read(ids))
    told = []
    decoder = copy.deepcopy(tiny.decoder)

    class Listening(torch.nn.Module):
        def forward(self, hidden, reading):
            told.append(reading.features)
            return hidden + reading.features["task"]

    decoder.after(1, Listening())
    features = {"task": torch.tensor(0.5)}
    session = DecoderSession(decoder, 20, features=features)
    session.read(ids)
    forked = session.fork(4, 20)
    assert not torch.allclose(forked.read(ids[4:]), whole.read([7]))
    torch.testing.assert_close(forked.read([7]), session.read([7]))
    assert told == [features] * 4
