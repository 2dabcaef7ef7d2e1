import pytest
import torch
from torch import nn

from serval.adapters.typed_linear import TypedLinear


def trained(rank=2, alpha=3.0, **options):
    """Branches that add something."""
    linear = TypedLinear(nn.Linear(6, 5), rank=rank, alpha=alpha, **options)
    nn.init.normal_(linear.up)
    return linear


def test_one_branch_is_lora():
    linear, hidden = trained(), torch.randn(2, 4, 6)
    expected = linear.base(hidden) + 3.0 / 2 * (hidden @ linear.down.T @ linear.up.T)
    torch.testing.assert_close(linear(hidden), expected)


def test_each_token_takes_the_branch_of_its_id_alone():
    linear, hidden = trained(rank=(2, 2, 2)), torch.randn(2, 4, 6)
    ids = torch.tensor([[0, 1, 2, -1], [2, 2, -1, 0]])
    mixed = linear(hidden, ids)
    for place in torch.cartesian_prod(torch.arange(2), torch.arange(4)).tolist():
        branch, token = int(ids[tuple(place)]), hidden[tuple(place)]
        update = linear.update(branch) if branch >= 0 else torch.zeros(5, 6)
        torch.testing.assert_close(mixed[tuple(place)], linear.base(token) + update @ token)


def test_an_id_of_minus_one_is_the_frozen_map_bit_for_bit():
    linear, hidden = trained(rank=(2, 2, 2)), torch.randn(2, 4, 6)
    assert torch.equal(linear(hidden, torch.tensor([[-1], [1]]))[0], linear.base(hidden)[0])


def test_one_id_for_a_sample_is_that_id_for_each_of_its_tokens():
    linear, hidden = trained(rank=(2, 2, 2)), torch.randn(2, 4, 6)
    by_sample = torch.tensor([[2], [0]])
    assert torch.equal(linear(hidden, by_sample), linear(hidden, by_sample.expand(2, 4)))


def test_shares_of_one_branch_are_its_id_and_shares_add_up():
    linear, hidden = trained(rank=(2, 2, 2)), torch.randn(2, 4, 6)
    one, two = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.5, 0.0, 2.0])
    assert torch.equal(linear(hidden, one), linear(hidden, torch.tensor(1)))
    added = linear(hidden, one) + linear(hidden, two) - linear.base(hidden)
    torch.testing.assert_close(linear(hidden, one + two), added)


def test_a_gate_mixes_the_branches_by_its_softmax():
    linear, hidden = trained(rank=(2, 2, 2), gated=True), torch.randn(2, 4, 6)
    shares = linear.gate(hidden).softmax(-1)
    expected = linear.base(hidden) + sum(shares[..., e, None] * (hidden @ linear.update(e).T) for e in range(3))
    torch.testing.assert_close(linear(hidden), expected)


def test_equal_branches_under_a_gate_are_one_branch():
    gated, single, hidden = trained(rank=(2, 2, 2), gated=True), trained(), torch.randn(2, 4, 6)
    with torch.no_grad():
        gated.base.load_state_dict(single.base.state_dict())
        gated.up.copy_(single.up.repeat(1, 3))
        gated.down.copy_(single.down.repeat(3, 1))
    torch.testing.assert_close(gated(hidden), single(hidden))


def test_branches_of_different_ranks_are_what_each_would_be_alone():
    """Arcana's MM-LoRA: of a budget of ranks, text takes three quarters and images one, at one scale."""
    linear, hidden = trained(rank=(3, 1), alpha=(6.0, 2.0)), torch.randn(2, 4, 6)
    for branch, (rank, start) in enumerate([(3, 0), (1, 3)]):
        alone = TypedLinear(linear.base, rank=rank, alpha=2.0 * rank)
        with torch.no_grad():
            alone.down.copy_(linear.down[start : start + rank])
            alone.up.copy_(linear.up[:, start : start + rank])
        torch.testing.assert_close(linear(hidden, torch.tensor([[branch]])), alone(hidden))
        torch.testing.assert_close(linear.update(branch), alone.update())


def test_dropout_touches_the_branches_alone_and_only_in_training():
    linear, hidden = trained(dropout=1.0), torch.randn(2, 4, 6)
    assert torch.equal(linear(hidden), linear.base(hidden))
    assert not torch.allclose(linear.eval()(hidden), linear.base(hidden))


def test_branches_may_be_more_precise_than_the_frozen_map():
    base, hidden = nn.Linear(6, 5).bfloat16(), torch.randn(2, 4, 6).bfloat16()
    linear = TypedLinear(base, rank=(2, 2), dtype=torch.float32)
    nn.init.normal_(linear.up)
    ids = torch.tensor([[1], [0]])
    change = torch.stack([hidden[0].float() @ linear.update(1).T, hidden[1].float() @ linear.update(0).T])
    assert linear(hidden, ids).dtype == torch.bfloat16
    torch.testing.assert_close(linear(hidden, ids), base(hidden) + change.bfloat16())


@pytest.mark.parametrize("branch", [0, 2])
def test_a_merged_branch_runs_inside_the_frozen_map_and_comes_out_again_bit_for_bit(branch):
    linear, hidden = trained(rank=(2, 2, 2)), torch.randn(2, 4, 6)
    before, routed = linear.base.weight.clone(), linear(hidden, torch.tensor([[branch]]))
    linear.merge(branch)
    torch.testing.assert_close(linear(hidden), routed)
    torch.testing.assert_close(linear.base(hidden), routed)
    linear.unmerge()
    assert torch.equal(linear.base.weight, before)
    assert torch.equal(linear(hidden, torch.tensor([[branch]])), routed)


def test_only_branches_and_gate_learn_and_unused_branches_do_not():
    linear = trained(rank=(2, 2, 2))
    linear(torch.randn(2, 4, 6), torch.tensor([[0], [2]])).square().sum().backward()
    assert {name for name, weight in linear.named_parameters() if weight.requires_grad} == {"down", "up"}
    assert linear.base.weight.grad is None
    assert [bool(grad.any()) for grad in linear.up.grad.split(2, dim=1)] == [True, False, True]


def test_choices_that_make_no_sense_are_refused():
    hidden = torch.randn(2, 4, 6)
    with pytest.raises(ValueError, match="ids or shares"):
        trained(rank=(2, 2))(hidden)
    with pytest.raises(ValueError, match="not by both"):
        trained(rank=(2, 2), gated=True)(hidden, torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="from 0 to 2"):
        trained(rank=(2, 2))(hidden, torch.tensor([[0], [2]]))
    with pytest.raises(ValueError, match="Shares of shape"):
        trained(rank=(2, 2))(hidden, torch.ones(3))
    for rank, alpha in ((0, None), ((), None), ((2, 0), None), ((2, 3), (1.0,))):
        with pytest.raises(ValueError, match="rank 1 or more"):
            TypedLinear(nn.Linear(2, 2), rank=rank, alpha=alpha)
    linear = trained(rank=(2, 2))
    with pytest.raises(ValueError, match="No branch"):
        linear.unmerge()
    linear.merge()
    with pytest.raises(ValueError, match="already"):
        linear.merge(1)
    with pytest.raises(ValueError, match="no choice"):
        linear(hidden, torch.zeros(2, 1, dtype=torch.long))
