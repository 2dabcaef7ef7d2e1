"""Eight and four bits by torchao: every linear map of the layers and no other, and near what the model says in bfloat16."""

from importlib.util import find_spec

import pytest
import torch

from serval.language.load import load_decoder
from serval.language.low_bits import quantize
from serval.refusal import Refusal
from serval.weights import locate

torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is an extra (serval[gpu])")


@pytest.fixture
def decoder():
    return load_decoder(locate("smollm2", "model.safetensors").parent, dtype=torch.bfloat16)


@torchao
@torch.inference_mode()
@pytest.mark.parametrize(("form", "near"), [("fp8", 0.99), ("int4", 0.95)])
def test_the_small_model_says_about_what_it_says(decoder, form, near):
    ids = torch.randint(100, 40_000, (1, 24), generator=torch.Generator().manual_seed(0))
    before = decoder(ids).float()
    embeddings = decoder.state_dict()["embed_tokens.weight"].clone()
    names = quantize(decoder, form)
    assert len(names) == 7 * len(decoder.layers)
    assert torch.equal(decoder.state_dict()["embed_tokens.weight"], embeddings)
    after = decoder(ids).float()
    alike = torch.nn.functional.cosine_similarity(before, after, dim=-1).mean()
    assert near < alike < 0.99999


@torchao
def test_another_type_is_refused(decoder):
    with pytest.raises(Refusal, match="load it in bfloat16"):
        quantize(decoder.float(), "fp8")


def test_without_the_extra_it_says_how_to_get_it(decoder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization", None)
    with pytest.raises(Refusal, match=r"serval\[gpu\]"):
        quantize(decoder, "int4")
