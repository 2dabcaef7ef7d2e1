"""Flex attention is the attention it stands for: patterns, softcaps, grouped heads, rows and heads with masks of their own."""

import pytest
import torch

from serval.language.flex import flex_mix, pays


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.inference_mode()
@pytest.mark.parametrize(("softcap", "shape"), [(None, (2, 4)), (2.0, (1, 1))])
def test_it_is_the_same_attention(softcap, shape):
    torch.manual_seed(0)
    queries, (keys, values) = torch.randn(2, 4, 20, 16), torch.randn(2, 2, 2, 30, 16)
    seen = torch.rand(*shape, 20, 30) > 0.4
    seen[..., 0] = True
    scores = queries @ keys.repeat_interleave(2, 1).transpose(2, 3) * 0.3
    scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values.repeat_interleave(2, 1)
    found = flex_mix(queries, keys, values, seen, scale=0.3, softcap=softcap, compiled=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_on_a_cpu_it_does_not_pay():
    assert not pays(torch.zeros(1, 4, 1000, 8), torch.ones(1), 2.0)
