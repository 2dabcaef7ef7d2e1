"""Eight bits a weight: off by half a step, in every family, and close to float32 in what a real model says."""

import pytest
import torch
from torch import nn

from serval.language.decoder import Decoder
from serval.language.families import config_from
from serval.language.int8_linear import Int8Linear, quantize_int8
from serval.language.load import load_decoder
from serval.weights import locate


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_linear_map_of_rounded_weights(dtype, bias):
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias).to(dtype)
    made, hidden = Int8Linear(linear), torch.randn(2, 3, 64, dtype=dtype)
    rounded = made.weight.float() * made.scale.float()[:, None]
    half_step = made.scale.float()[:, None] * 0.51
    assert made.weight.dtype == torch.int8
    if dtype == torch.float32:
        assert ((rounded - linear.weight).abs() <= half_step).all()
    expected = hidden.float() @ rounded.T + (0 if linear.bias is None else linear.bias.float())
    torch.testing.assert_close(made(hidden).float(), expected, atol=0.03 if dtype == torch.bfloat16 else 1e-5, rtol=0.02)


def test_gradients_pass_through_it_to_what_lies_below():
    made, hidden = Int8Linear(nn.Linear(8, 4)), torch.randn(2, 8, requires_grad=True)
    made(hidden).sum().backward()
    torch.testing.assert_close(hidden.grad[0], (made.weight.float() * made.scale[:, None]).sum(0))


@torch.inference_mode()
def test_every_linear_map_of_the_layers_and_no_other(tiny):
    decoder = Decoder(config_from(tiny.decoder.config.source))
    decoder.load_state_dict(tiny.decoder.state_dict())
    ids = torch.randint(0, decoder.config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    before = decoder(ids)
    names = quantize_int8(decoder)
    assert len(names) == 7 * len(decoder.layers) and not any("head" in name or "embed" in name for name in names)
    assert 0 < (decoder(ids) - before).norm() / before.norm() < 0.03


@torch.inference_mode()
def test_the_small_model_says_what_it_says_in_float32(smollm2):
    decoder = load_decoder(locate("smollm2", "model.safetensors").parent, dtype=torch.bfloat16)
    quantize_int8(decoder)
    ids = torch.randint(100, 40_000, (1, 64), generator=torch.Generator().manual_seed(0))
    expected, found = (torch.log_softmax(each(ids)[0].float(), -1) for each in (smollm2, decoder))
    assert (expected.argmax(-1) == found.argmax(-1)).float().mean() > 0.85
    assert (expected.exp() * (expected - found)).sum(-1).mean() < 0.03
