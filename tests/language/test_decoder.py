"""The decoder gives transformers' numbers, in one pass and in any pieces."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from serval.conversation.tokenizer import Tokenizer
from serval.language.load import load_decoder
from serval.language.rotary import Rotary, turn
from serval.weights import locate

from .conftest import tiny_reference

TEXT = "The taxi sign is visible above the parked bicycle, and a man in a suit walks past it towards the camera."


def random_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 97, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_logits_are_those_of_transformers(tiny):
    ids = random_ids(3, 40)
    expected = tiny.reference(ids).logits
    assert expected.abs().max() > 1  # not a comparison of zeros
    torch.testing.assert_close(tiny.decoder(ids), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": False},
        {"num_key_value_heads": 6},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ],
)
def test_logits_are_those_of_transformers_for_other_shapes(tmp_path, changes):
    reference = tiny_reference(tmp_path, **changes)
    decoder = load_decoder(tmp_path / "model.safetensors", tmp_path / "config.json")
    ids = random_ids(1, 24)
    torch.testing.assert_close(decoder(ids), reference(ids).logits, atol=1e-5, rtol=1e-5)


@settings(max_examples=40)
@given(cuts=st.sets(st.integers(1, 29)), batch=st.integers(1, 2))
@torch.inference_mode()
def test_any_way_of_cutting_a_sequence_gives_the_logits_of_one_pass(tiny, cuts, batch):
    ids = random_ids(batch, 30, seed=5)
    cache = tiny.decoder.new_cache(30, batch)
    edges = [0, *sorted(cuts), 30]
    pieces = [tiny.decoder(ids[:, start:end], cache) for start, end in pairwise(edges)]
    # Other lengths go through other kernels, which round in another order.
    torch.testing.assert_close(torch.cat(pieces, dim=1), tiny.decoder(ids), atol=3e-5, rtol=1e-5)


@torch.inference_mode()
def test_only_the_last_logits_when_only_they_are_wanted(tiny):
    ids = random_ids(2, 9)
    torch.testing.assert_close(tiny.decoder(ids, last=True), tiny.decoder(ids)[:, -1:], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_only_the_differences_of_positions_count(tiny):
    ids = random_ids(1, 12)
    moved = torch.arange(12.0)[None] + 7.25
    torch.testing.assert_close(tiny.decoder(ids, positions=moved), tiny.decoder(ids), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(tiny.decoder(ids, positions=2 * moved), tiny.decoder(ids), atol=1e-2)


@torch.inference_mode()
def test_fractional_positions_are_kept_in_the_cache(tiny):
    """V2PE (Ge et al. 2024): media advance by less than one, and text goes on behind them."""
    ids = random_ids(1, 24)
    steps = torch.tensor([[1.0] * 6 + [1 / 256] * 12 + [1.0] * 6])
    positions = steps.cumsum(1) - 1
    whole = tiny.decoder(ids, positions=positions)
    assert not torch.allclose(whole, tiny.decoder(ids), atol=1e-2)
    cache = tiny.decoder.new_cache(24)
    pieces = [tiny.decoder(ids[:, a:b], cache, positions=positions[:, a:b]) for a, b in ((0, 5), (5, 9), (9, 10), (10, 24))]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=3e-5, rtol=1e-5)


@torch.inference_mode()
def test_given_positions_are_kept_and_gone_on_from(tiny):
    ids, cache = random_ids(1, 4), tiny.decoder.new_cache(16)
    tiny.decoder(ids[:, :3], cache, positions=torch.tensor([[0.0, 0.5, 9.0]]))
    tiny.decoder(ids[:, 3:], cache)
    assert cache.entries(0).position[:, 0].tolist() == [[0.0, 0.5, 9.0, 10.0]]


@given(position=st.floats(0, 1000), shift=st.floats(-100, 100))
def test_turning_keeps_lengths_and_answers_by_distance(position, shift):
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))

    def turned(states: torch.Tensor, at: float) -> torch.Tensor:
        return turn(states, *Rotary(8).angles(torch.tensor([[[at]]]), 0))

    here, there = turned(key, position), turned(key, position + shift)
    assert torch.allclose(here.norm(), key.norm(), rtol=1e-4)
    apart = (turned(query, position) * there).sum()
    from_zero = (query * turned(key, shift)).sum()
    assert torch.allclose(apart, from_zero, atol=5e-3)


@pytest.fixture(scope="module")
def reference_smollm2() -> LlamaForCausalLM:
    folder = locate("smollm2", "model.safetensors").parent
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


@torch.inference_mode()
def test_smollm2_is_transformers_smollm2(smollm2, reference_smollm2):
    ids = torch.tensor([Tokenizer(locate("smollm2", "tokenizer.json")).encode(TEXT)])
    expected = reference_smollm2(ids).logits
    found = smollm2(ids)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def test_smollm2_came_through_its_conversion_in_its_right_mind(smollm2):
    tokenizer = Tokenizer(locate("smollm2", "tokenizer.json"))
    ids = torch.tensor([tokenizer.encode("The capital of France is Paris. The capital of Germany is")])
    logits = smollm2(ids)[0]
    assert tokenizer.decode([int(logits[-1].argmax())]) == " Berlin"
    assert torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:]) < 2.5  # random weights: log(49152) = 10.8


@torch.inference_mode()
def test_smollm2_says_what_transformers_makes_it_say(smollm2, reference_smollm2):
    from serval.language.generation.generate import generate
    from serval.language.generation.session import DecoderSession

    ids = Tokenizer(locate("smollm2", "tokenizer.json")).encode(TEXT)
    expected = reference_smollm2.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None)
    found = list(generate(DecoderSession(smollm2, 100), ids, stops=(), most=20))
    assert found == expected[0, len(ids) :].tolist()


@torch.inference_mode()
def test_smollm2_is_read_straight_from_its_gguf(smollm2):
    """The safetensors were made of the same numbers, rounded to bfloat16."""
    straight = load_decoder(locate("smollm2", "model.gguf"), dtype=torch.bfloat16)
    assert straight.config == smollm2.config
    for (name, ours), theirs in zip(straight.named_parameters(), smollm2.parameters(), strict=True):
        assert torch.equal(ours.float(), theirs), name


@torch.inference_mode()
def test_every_part_of_a_layer_may_look_at_what_tokens_are(tmp_path):
    """Each is called with the sequence beside its states, (batch, new, …) as the sequence is."""
    from torch import nn

    from .families import tiny_model
    from .sequences import CONVERSATION, mixed

    tiny_model("qwen3", tmp_path)
    decoder, seen = load_decoder(tmp_path), []

    class Looking(nn.Module):
        reads_sequence = True

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden, sequence):
            assert hidden.shape[:2] == sequence.modality.shape
            seen.append(sequence.modality)
            return self.inner(hidden)

    sequence = mixed(CONVERSATION)
    expected = decoder(sequence)
    layer = decoder.layers[1]
    wraps = [(layer, name) for name in ("input_layernorm", "pre_feedforward_layernorm")]
    wraps += [(layer.self_attn, f"{name}_proj") for name in "qkvo"] + [(layer.self_attn, f"{name}_norm") for name in "qk"]
    wraps += [(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down")] + [(decoder, "norm")]
    for module, name in wraps:
        setattr(module, name, Looking(getattr(module, name)))
    assert torch.equal(decoder(sequence), expected) and len(seen) == len(wraps) == 12
