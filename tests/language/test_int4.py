"""Four bits a number: as exact as the file, close to float32 in what it says, and the same however it is read."""

import pytest
import torch

from serval.conversation.tokenizer import Tokenizer
from serval.encoders.onnx_session import open_session
from serval.language.decoder import Decoder
from serval.language.int4 import Int4Decoder, Int4Session
from serval.language.int4_graph import Graph
from serval.language.int4_matrix import GROUP, Matrix
from serval.language.load import load_decoder
from serval.refusal import Refusal
from serval.weights import locate

TEXT = (
    "The lighthouse keeper climbed the stairs every evening just before dusk. He carried a small lantern, a flask of tea and "
    "a notebook in which he wrote down the names of the ships that passed. There were fewer of them each year. The old harbour "
    "had silted up, and the larger vessels now went around the cape to the new port, where cranes worked through the night and "
    "nobody looked up at the stars. On the first of November the wind turned to the north."
)


@pytest.fixture(scope="module")
def bfloat16() -> Decoder:
    return load_decoder(locate("smollm2", "model.safetensors"), locate("smollm2", "config.json"), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def int4(bfloat16) -> Int4Decoder:
    return Int4Decoder(locate("smollm2", "model.gguf"), bfloat16)


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return Tokenizer(locate("smollm2", "tokenizer.json")).encode(TEXT)


def product(matrix: Matrix, states: torch.Tensor, *, rounded: bool) -> torch.Tensor:
    graph = Graph(rounded=rounded)
    name = graph.product("states", matrix)
    model = graph.serialized({"states": (1, "any", matrix.columns)}, {name: (1, "any", matrix.rows)})
    return torch.from_numpy(open_session(model, constants=graph.constants).run(None, {"states": states[None].numpy()})[0][0])


@pytest.mark.parametrize("groups", [3, 40])
@pytest.mark.parametrize("rounded", [True, False])
def test_a_packed_matrix_is_step_times_level_plus_least(groups, rounded):
    random = torch.Generator().manual_seed(2)
    levels = torch.randint(0, 16, (64, groups * GROUP), generator=random)
    step, least = torch.rand(64, groups, generator=random) + 0.1, torch.randn(64, groups, generator=random)
    expected = (levels.view(64, groups, GROUP) * step[..., None] + least[..., None]).flatten(1)
    states = torch.randn(5, groups * GROUP, generator=random)
    found = product(Matrix.pack(levels, step, least), states, rounded=rounded)
    exact = states @ expected.T
    off = (found - exact).norm() / exact.norm()
    assert off < (0.01 if rounded else 1e-5)  # what goes in is rounded to 8 bits


def test_quantizing_is_off_by_a_step_at_the_most():
    values = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    values[3, :GROUP] = 0
    quantized = Matrix.quantize(values)
    found = product(quantized, torch.eye(64), rounded=False).T
    assert torch.allclose(found, quantized.values, atol=1e-6)
    step = values.view(64, 2, GROUP).abs().amax(-1) / 8
    assert ((found - values).abs().view(64, 2, GROUP).amax(-1) <= step * 1.01).all()


@torch.inference_mode()
def test_token_by_token_it_says_what_float32_says(smollm2, int4, ids):
    expected = torch.log_softmax(smollm2(torch.tensor([ids]))[0], -1)
    session = Int4Session(int4, len(ids))
    found = torch.log_softmax(torch.stack([session.read([each]) for each in ids]), -1)
    agreement = (found.argmax(-1) == expected.argmax(-1)).float().mean()
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    assert agreement >= 0.94
    assert divergence <= 0.008


@torch.inference_mode()
def test_a_prompt_read_at_once_leaves_what_reading_it_slowly_leaves(int4, ids):
    at_once, slowly = Int4Session(int4, 60), Int4Session(int4, 60)
    at_once.read(ids[:40])
    for each in ids[:40]:
        slowly.read([each])
    # The prompt goes through bfloat16 weights, the tokens through four bits: the same numbers but for their rounding.
    first, second = (torch.log_softmax(session.read(ids[40:50]), -1) for session in (at_once, slowly))
    assert (first.exp() * (first - second)).sum() < 0.02
    assert first.argmax() == second.argmax()


def test_growing_changes_nothing(int4, ids, monkeypatch):
    large = Int4Session(int4, 100)
    monkeypatch.setattr("serval.language.int4._FIRST", 8)
    small = Int4Session(int4, 100)
    for session in (small, large):
        session.read(ids[:6])
    assert torch.equal(small.read(ids[6:20]), large.read(ids[6:20]))


def test_beyond_its_capacity_it_refuses(int4, ids):
    session = Int4Session(int4, 20)
    session.read(ids[:19])
    session.read(ids[19:20])
    with pytest.raises(Refusal, match="21 tokens long, and 20 is the limit"):
        session.read(ids[20:21])


def test_another_models_file_is_refused(tiny):
    with pytest.raises(Refusal, match=r"blk\.0\.attn_norm\.weight is not 48 numbers"):
        Int4Decoder(locate("smollm2", "model.gguf"), tiny.decoder)


def test_a_file_of_other_blocks_is_refused(bfloat16, tmp_path):
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "plain.gguf", "llama")
    writer.add_tensor("blk.0.attn_norm.weight", torch.ones(576).numpy())
    writer.add_tensor("blk.0.attn_q.weight", torch.zeros(576, 576).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(Refusal, match=r"blk\.0\.attn_q\.weight is not a Q4_1 matrix of 576x576"):
        Int4Decoder(tmp_path / "plain.gguf", bfloat16)
