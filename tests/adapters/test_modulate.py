import torch
from torch import nn

from serval.adapters.modulate import Modulate


def opened(branch=None):
    modulate = Modulate(4, 3, branch)
    nn.init.normal_(modulate.amounts.weight)
    nn.init.normal_(modulate.amounts.bias)
    return modulate


def test_without_a_branch_it_scales_and_shifts():
    modulate, hidden, condition = opened(), torch.randn(2, 5, 4), torch.randn(2, 3)
    scale, shift = modulate.amounts(condition)[:, None].split(4, dim=-1)
    torch.testing.assert_close(modulate(hidden, condition), hidden + hidden * scale + shift)


def test_around_a_branch_it_is_added_through_its_gate():
    branch = nn.Linear(4, 4)
    modulate, hidden, condition = opened(branch), torch.randn(2, 5, 4), torch.randn(2, 3)
    scale, shift, gate = modulate.amounts(condition)[:, None].split(4, dim=-1)
    torch.testing.assert_close(modulate(hidden, condition), hidden + gate * branch(hidden + hidden * scale + shift))


def test_one_condition_for_a_sample_is_that_condition_for_each_of_its_tokens():
    modulate, hidden, condition = opened(), torch.randn(2, 5, 4), torch.randn(2, 3)
    torch.testing.assert_close(modulate(hidden, condition[:, None].expand(2, 5, 3)), modulate(hidden, condition))


def test_at_first_only_the_gate_learns_and_then_the_branch():
    modulate = Modulate(4, 3, nn.Linear(4, 4))
    modulate(torch.randn(2, 5, 4), torch.randn(2, 3)).square().sum().backward()
    moved = modulate.amounts.weight.grad.abs().sum(-1)
    assert (moved[:8] == 0).all() and (moved[8:] > 0).all()
    assert not modulate.branch.weight.grad.any()
    with torch.no_grad():
        modulate.amounts.weight -= 0.1 * modulate.amounts.weight.grad
    modulate(torch.randn(2, 5, 4), torch.randn(2, 3)).square().sum().backward()
    assert modulate.branch.weight.grad.any()
