"""Logits are processed as transformers' classes of the same settings do it, each row by its own."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serval.language.generation.processors import keep_min_p, keep_top_k, keep_top_p, penalize_repetition, scale
from serval.language.generation.sampling import Sampler, Sampling

VOCABULARY = 41
shares = st.floats(0.01, 1.0)


def logits_of(seed: int, rows: int, ties: bool = False) -> torch.Tensor:
    logits = 4 * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    return logits.round() if ties else logits


def each_row(logits: torch.Tensor, processors: list) -> torch.Tensor:
    nothing = torch.zeros(1, 1, dtype=torch.long)
    return torch.cat([processor(nothing, row[None]) for processor, row in zip(processors, logits, strict=True)])


@given(seed=st.integers(0, 999), settings=st.lists(st.integers(1, 60), min_size=1, max_size=4), ties=st.booleans())
def test_top_k(seed, settings, ties):
    logits = logits_of(seed, len(settings), ties)
    assert torch.equal(keep_top_k(logits, settings), each_row(logits, [TopKLogitsWarper(each) for each in settings]))


@given(seed=st.integers(0, 999), settings=st.lists(shares, min_size=1, max_size=4))
def test_top_p(seed, settings):
    logits = logits_of(seed, len(settings))
    assert torch.equal(keep_top_p(logits, settings), each_row(logits, [TopPLogitsWarper(each) for each in settings]))


@given(seed=st.integers(0, 999), settings=st.lists(shares, min_size=1, max_size=4))
def test_min_p(seed, settings):
    logits = logits_of(seed, len(settings))
    assert torch.equal(keep_min_p(logits, settings), each_row(logits, [MinPLogitsWarper(each) for each in settings]))


@given(seed=st.integers(0, 999), settings=st.lists(st.floats(0.05, 5.0), min_size=1, max_size=4))
def test_temperature(seed, settings):
    logits = logits_of(seed, len(settings))
    assert torch.equal(scale(logits, settings), each_row(logits, [TemperatureLogitsWarper(each) for each in settings]))


@given(seed=st.integers(0, 999), penalty=st.floats(0.5, 3.0), ids=st.lists(st.integers(0, VOCABULARY - 1), min_size=1))
def test_repetition_penalty(seed, penalty, ids):
    logits, seen = logits_of(seed, 1), torch.zeros(1, VOCABULARY, dtype=torch.bool)
    seen[0, ids] = True
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([ids]), logits)
    assert torch.equal(penalize_repetition(logits, seen, [penalty]), expected)


@pytest.mark.parametrize("top_k", [[0], [0, 0]])
def test_a_top_k_of_zero_keeps_all(top_k):
    logits = logits_of(1, len(top_k))
    assert torch.equal(keep_top_k(logits, top_k), logits)


settings_of_all = st.builds(
    Sampling,
    temperature=st.floats(0.1, 3.0),
    top_k=st.sampled_from([0, 1, 3, 20, 60]),
    top_p=st.sampled_from([0.1, 0.5, 0.93, 1.0]),
    min_p=st.sampled_from([0.0, 0.02, 0.4]),
    repetition_penalty=st.sampled_from([1.0, 1.4]),
    seed=st.integers(0, 99),
)


@cache
def model() -> LlamaForCausalLM:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=1, num_key_value_heads=1))


def transformers_order(sampling: Sampling) -> LogitsProcessorList:
    """What ``generate`` makes of these settings."""
    config = GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p or None,
        repetition_penalty=sampling.repetition_penalty,
    )
    return model()._get_logits_processor(config, input_ids_seq_length=3)


@given(seed=st.integers(0, 999), settings=st.lists(settings_of_all, min_size=1, max_size=3))
def test_all_together_in_the_order_of_transformers(seed, settings):
    logits, ids = logits_of(seed, len(settings)), [[3, row, 7] for row in range(len(settings))]
    sampler = Sampler(settings, ids)
    drawn_from = []
    sampler._draw = lambda warped: drawn_from.append(warped) or [0] * len(settings)
    sampler(logits)
    for row, each in enumerate(settings):
        expected = transformers_order(each)(torch.tensor([ids[row]]), logits[row : row + 1])
        torch.testing.assert_close(drawn_from[0][row].softmax(-1), expected[0].softmax(-1), rtol=0, atol=0)
