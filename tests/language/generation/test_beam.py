"""Beam search finds what transformers' finds, with the same scores."""

import itertools
import math

import pytest
import torch

from serval.language.generation.beam import Beam, beam_search
from serval.language.generation.session import DecoderBatch
from serval.refusal import Refusal

from .conftest import Reference

PROMPT = [5, 17, 3, 88, 41]


def expected(model, prompt, stops, **settings):
    eos = sorted(stops) or None
    said = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        num_return_sequences=settings["num_beams"],
        eos_token_id=eos,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **settings,
    )
    replies = []
    for ids in said.sequences[:, len(prompt) :].tolist():
        ends = [place for place, token in enumerate(ids) if token in stops]
        replies.append((tuple(ids[: ends[0]] if ends else ids), bool(ends)))
    return replies, said.sequences_scores.tolist()


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, 0.0, -1.0, 2.5])
def test_it_is_transformers_beam_search(tiny, length_penalty, early_stopping):
    stops = set(range(0, 97, 5))  # so many that replies end early; with this prompt every way of stopping finds others
    prompt = torch.randint(3, 97, (5,), generator=torch.Generator().manual_seed(24)).tolist()
    settings = {"length_penalty": length_penalty, "early_stopping": early_stopping}
    replies, scores = expected(tiny.reference, prompt, stops, num_beams=4, max_new_tokens=12, **settings)
    found = beam_search(DecoderBatch(tiny.decoder, 1), prompt, beams=4, most=12, stops=stops, **settings)
    assert [(beam.tokens, beam.ended) for beam in found] == replies
    assert [beam.score for beam in found] == pytest.approx(scores, abs=2e-4)


def test_without_stops_all_beams_grow_to_the_end(tiny):
    replies, scores = expected(tiny.reference, PROMPT, set(), num_beams=2, max_new_tokens=6)
    found = beam_search(Reference(tiny.reference, 1), PROMPT, beams=2, most=6)
    assert [(beam.tokens, beam.ended) for beam in found] == replies
    assert [beam.score for beam in found] == pytest.approx(scores, abs=2e-4)


def test_with_room_for_all_it_finds_the_likeliest_of_all_replies():
    table = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)) * 2

    class Chain:
        """The next token depends on the last one alone."""

        room = None

        def read(self, ids, valid=None):
            return table[ids[:, -1]]

        def select(self, rows):
            pass

    logprobs = table.log_softmax(-1)
    likely = {
        reply: sum(logprobs[a, b].item() for a, b in itertools.pairwise((0, *reply)))
        for reply in itertools.product(range(4), repeat=3)
    }
    found = beam_search(Chain(), [0], beams=64, most=3, length_penalty=0.0)
    assert {beam.tokens for beam in found} == set(likely) and len(found) == 64
    assert [beam.score for beam in found] == pytest.approx(sorted(likely.values(), reverse=True), abs=1e-5)
    assert [beam.score for beam in found] == pytest.approx([likely[beam.tokens] for beam in found], abs=1e-5)
    one = beam_search(Chain(), [0], beams=1, most=3)[0].tokens
    greedy = [int(table[0].argmax())]
    while len(greedy) < 3:
        greedy.append(int(table[greedy[-1]].argmax()))
    assert list(one) == greedy


def test_cancelled_it_gives_what_has_ended(tiny):
    whole = beam_search(DecoderBatch(tiny.decoder, 1), PROMPT, beams=3, most=14, stops={61, 7, 20, 33, 90})
    asked = iter([False] * 6 + [True])
    part = beam_search(
        DecoderBatch(tiny.decoder, 1), PROMPT, beams=3, most=14, stops={61, 7, 20, 33, 90}, cancelled=lambda: next(asked)
    )
    assert all(isinstance(beam, Beam) and beam.ended and len(beam.tokens) < 6 for beam in part)
    assert beam_search(DecoderBatch(tiny.decoder, 1), PROMPT, beams=3, most=14, cancelled=lambda: True) == []
    assert len(whole) == 3


def test_a_long_prompt_is_read_in_pieces(tiny, monkeypatch):
    whole = beam_search(Reference(tiny.reference, 1), PROMPT, beams=2, most=5)
    monkeypatch.setattr("serval.language.generation.beam.PIECE", 2)
    session = Reference(tiny.reference, 1)
    pieces = beam_search(session, PROMPT, beams=2, most=5)
    assert [beam.tokens for beam in pieces] == [beam.tokens for beam in whole]
    assert session.rows_read == [1, 1, 1, 2, 2, 2, 2]


def test_what_cannot_be_is_refused(tiny):
    with pytest.raises(Refusal, match="13 tokens long, and 12 is the limit"):
        beam_search(Reference(tiny.reference, 1, room=12), PROMPT, beams=2, most=8)
    with pytest.raises(Refusal, match="0 beams"):
        beam_search(Reference(tiny.reference, 1), PROMPT, beams=0, most=8)
    with pytest.raises(ValueError, match="prompt"):
        beam_search(Reference(tiny.reference, 1), [], beams=2, most=8)

    class Broken(Reference):
        def read(self, ids, valid=None):
            return torch.full((len(ids), 97), math.nan)

    with pytest.raises(Refusal, match="finite"):
        beam_search(Broken(tiny.reference, 1), PROMPT, beams=2, most=8)
