import pytest
import torch
from torch import nn

from serval.adapters.decomposed_linear import DecomposedLinear


def trained(*, bias=True):
    linear = DecomposedLinear(nn.Linear(6, 5, bias=bias), rank=2, alpha=3.0)
    nn.init.normal_(linear.direction.up)
    nn.init.normal_(linear.magnitude)
    return linear


@pytest.mark.parametrize("bias", [True, False])
def test_rows_have_the_length_of_m_and_the_direction_of_the_sum(bias):
    linear, hidden = trained(bias=bias), torch.randn(2, 4, 6)
    rows = linear.direction.base.weight + linear.direction.update()
    weight = linear.magnitude[:, None] * nn.functional.normalize(rows, dim=1)
    torch.testing.assert_close(linear(hidden), nn.functional.linear(hidden, weight, linear.direction.base.bias))


@pytest.mark.parametrize("bias", [True, False])
def test_merged_it_is_a_plain_linear_map_that_does_the_same(bias):
    linear, hidden = trained(bias=bias), torch.randn(2, 4, 6)
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    plain = linear.merged()
    torch.testing.assert_close(plain(hidden), linear(hidden))
    torch.testing.assert_close(plain.weight.norm(dim=1), linear.magnitude.abs())
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())


def test_length_and_direction_learn_and_the_frozen_map_does_not():
    linear = trained()
    linear(torch.randn(2, 4, 6)).square().sum().backward()
    learned = {name for name, weight in linear.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learned == {"magnitude", "direction.up", "direction.down"}


def test_a_row_of_zeros_is_no_nan():
    base = nn.Linear(6, 5)
    with torch.no_grad():
        base.weight[2] = 0
    hidden = torch.randn(2, 4, 6)
    assert torch.equal(DecomposedLinear(base, rank=2)(hidden), base(hidden))
