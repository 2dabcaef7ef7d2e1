"""A batch gives each row what it would get alone, and rows end on their own."""

import math
from dataclasses import replace

import pytest
import torch

from serval.language.generation.batch import generate_batch
from serval.language.generation.constraint import Constraint, ConstraintVocabulary
from serval.language.generation.generate import generate
from serval.language.generation.request import End, Request, Step
from serval.language.generation.sampling import Sampling
from serval.language.generation.session import DecoderBatch, DecoderSession
from serval.language.load import load_decoder
from serval.refusal import Refusal

from ..families import tiny_model
from .conftest import Reference


def collected(events):
    """Steps and the one end of each row."""
    steps, ends = {}, {}
    for event in events:
        assert event.row not in ends  # nothing comes after an end
        if isinstance(event, End):
            ends[event.row] = event
        else:
            steps.setdefault(event.row, []).append(event)
    return steps, ends


def tokens_of(steps):
    return {row: [step.token for step in each] for row, each in steps.items()}


def prompts_of(rows):
    return [torch.randint(3, 97, (3 * row + 1,), generator=torch.Generator().manual_seed(row)).tolist() for row in range(rows)]


@pytest.mark.parametrize("make", [Reference, DecoderBatch])
@pytest.mark.parametrize("piece", [256, 4])
def test_greedy_is_transformers_with_left_padding(tiny, make, piece, monkeypatch):
    monkeypatch.setattr("serval.language.generation.batch.PIECE", piece)
    prompts, stop = prompts_of(5), set(range(0, 97, 9))
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": sorted(stop), "pad_token_id": 0}
    expected = tiny.reference.generate(ids, attention_mask=mask, **settings)[:, longest:].tolist()
    session = make(tiny.reference if make is Reference else tiny.decoder, len(prompts))
    steps, ends = collected(generate_batch(session, [Request(prompt, 12, stops=stop) for prompt in prompts]))
    for row, said in enumerate(expected):
        end = next((place for place, token in enumerate(said) if token in stop), None)
        assert tokens_of(steps).get(row, []) == said[:end]
        assert ends[row] == End(row, "length" if end is None else "stop")
    assert {each.reason for each in ends.values()} == {"stop", "length"}


@pytest.mark.parametrize("family", ["gemma2", "qwen3_moe", "phi4-mini's partial rotary"])
def test_rows_of_padding_alone_disturb_no_family(family, tmp_path, monkeypatch):
    monkeypatch.setattr("serval.language.generation.batch.PIECE", 4)
    reference, prompts = tiny_model(family, tmp_path), prompts_of(4)[::3]
    decoder = load_decoder(tmp_path)
    steps, _ = collected(generate_batch(DecoderBatch(decoder, 2), [Request(prompt, 6) for prompt in prompts]))
    for row, prompt in enumerate(prompts):
        expected = reference.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=None)
        assert tokens_of(steps)[row] == expected[0, len(prompt) :].tolist()


def test_a_reply_to_what_is_not_only_text(tiny):
    ids = torch.tensor([prompts_of(3)[2], prompts_of(4)[3][:7]])
    seen = tiny.decoder.sequence(ids[:, :5])
    batch, alone = DecoderBatch(tiny.decoder, 2), DecoderSession(tiny.decoder, 20)
    batch.read(seen), alone.read(seen.row(1))
    steps, _ = collected(generate_batch(batch, [Request(row, 6) for row in ids[:, 5:].tolist()]))
    plain, _ = collected(generate_batch(DecoderBatch(tiny.decoder, 2), [Request(row, 6) for row in ids.tolist()]))
    assert tokens_of(steps) == tokens_of(plain)
    assert list(generate(alone, ids[1, 5:].tolist(), stops=(), most=6)) == tokens_of(plain)[1]


def varied(words):
    """Eight requests of all kinds and lengths."""
    within = Constraint.regex("[a-f]{3,9}", ConstraintVocabulary(words))
    settings = [
        Sampling(),
        Sampling(temperature=1.0, seed=1),
        Sampling(temperature=0.7, top_k=20, seed=2),
        Sampling(temperature=1.3, top_p=0.9, seed=3),
        Sampling(temperature=1.0, min_p=0.05, repetition_penalty=1.3, seed=4),
        Sampling(repetition_penalty=1.2),
        Sampling(temperature=2.0, top_k=50, top_p=0.8, min_p=0.01, seed=5),
        Sampling(temperature=1.0, seed=6),
    ]
    return [
        Request(prompt, 3 + 2 * row, stops={96}, sampling=each, constraint=within if row % 3 == 1 else None, logprobs=row % 4)
        for row, (prompt, each) in enumerate(zip(prompts_of(8), settings, strict=True))
    ]


@pytest.mark.parametrize("rows", [[0, 1], [5, 2, 7, 3], list(range(8))])
def test_a_row_gets_what_it_gets_alone(tiny, words, rows):
    requests = varied(words)
    steps, ends = collected(
        generate_batch(DecoderBatch(tiny.decoder, len(rows)), [requests[row] for row in rows], tokenizer=words)
    )
    for place, row in enumerate(rows):
        alone, end = collected(generate_batch(DecoderBatch(tiny.decoder, 1), [requests[row]], tokenizer=words))
        assert ends[place] == replace(end[0], row=place)
        for mine, other in zip(alone[0], steps[place], strict=True):
            assert (mine.token, mine.text) == (other.token, other.text)
            assert mine.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [token for token, _ in mine.top] == [token for token, _ in other.top]


def test_rows_that_end_are_taken_out(tiny):
    session = Reference(tiny.reference, 3)
    steps, _ = collected(generate_batch(session, [Request([5 + row], most) for row, most in enumerate((4, 1, 2))]))
    assert {row: len(each) for row, each in steps.items()} == {0: 4, 1: 1, 2: 2}
    assert session.rows_read == [3, 2, 1, 1]


def test_rows_are_cancelled_one_by_one_also_while_a_prompt_is_read(tiny, monkeypatch):
    monkeypatch.setattr("serval.language.generation.batch.PIECE", 2)
    session, given = Reference(tiny.reference, 3), []

    def cancelled(row):
        return (row == 0 and len(session.rows_read) == 2) or (row == 1 and len(given) >= 4)

    for event in generate_batch(session, [Request(list(range(3, 9)), 5) for _ in range(3)], cancelled=cancelled):
        given.append(event)
    steps, ends = collected(given)
    assert {row: end.reason for row, end in ends.items()} == {0: "cancelled", 1: "cancelled", 2: "length"}
    assert 0 not in steps and len(steps[1]) == 2 and len(steps[2]) == 5
    alone = list(generate_batch(Reference(tiny.reference, 1), [Request(list(range(3, 9)), 5)]))
    assert tokens_of(steps)[2] == [event.token for event in alone if isinstance(event, Step)]
    assert session.rows_read == [3, 3, 2, 2, 1, 1, 1]


class Broken(Reference):
    """The row that begins with 7 has numbers that are not finite at the second token."""

    def read(self, ids, valid=None):
        logits = super().read(ids, valid)
        if len(self.rows_read) == 2:
            logits[1] = math.nan
        return logits


def test_a_row_with_bad_numbers_ends_alone(tiny):
    requests = [Request([prompt], 4, sampling=Sampling(temperature=1.0)) for prompt in (6, 7, 8)]
    steps, ends = collected(generate_batch(Broken(tiny.reference, 3), requests))
    assert {row: len(each) for row, each in steps.items()} == {0: 4, 1: 1, 2: 4}
    assert ends[1].reason == "refused" and "finite" in str(ends[1].refusal)
    whole, _ = collected(generate_batch(Reference(tiny.reference, 3), requests))
    assert tokens_of(steps)[2] == tokens_of(whole)[2]


def test_too_long_a_row_is_refused_before_anything_is_read(tiny):
    session = DecoderBatch(tiny.decoder, 2)
    with pytest.raises(Refusal, match="257 tokens long, and 256 is the limit"):
        next(generate_batch(session, [Request([1], 5), Request([1] * 200, 57)]))
    assert session.room == 256
    wide = [Request([1] * 200, 2), Request([1], 60)]  # together they take more columns than the context has
    steps, _ = collected(generate_batch(session, wide))
    assert len(steps[1]) == 60


def test_nothing_asked_is_nothing_given(tiny):
    assert list(generate_batch(DecoderBatch(tiny.decoder, 1), [])) == []
    session = Reference(tiny.reference, 2)
    steps, ends = collected(generate_batch(session, [Request([4], 0), Request([4], 1)]))
    assert ends[0] == End(0, "length") and list(steps) == [1] and session.rows_read == [1]
