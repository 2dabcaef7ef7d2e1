import pytest
import torch
from torch import nn
from torch.nn import functional

from serval.adapters.adapter_bank import AdapterBank


def trained(**options):
    """Adapters that add something."""
    bank = AdapterBank(nn.Linear(6, 6), 6, hidden=3, **options)
    for weight in (bank.up, bank.up_bias, bank.down_bias, bank.strength):
        nn.init.normal_(weight)
    return bank


def adapted(bank, adapter, hidden):
    small = functional.relu(functional.linear(hidden, bank.down[adapter], bank.down_bias[adapter]))
    return bank.strength[adapter] * functional.linear(small, bank.up[adapter], bank.up_bias[adapter])


def test_one_adapter_stands_beside_the_feed_forward_layer():
    bank, hidden = trained(adapters=1), torch.randn(2, 4, 6)
    torch.testing.assert_close(bank(hidden), bank.feed_forward(hidden) + adapted(bank, 0, hidden))


def test_each_sample_or_token_takes_the_adapter_of_its_id():
    bank, hidden = trained(adapters=3), torch.randn(2, 4, 6)
    by_sample = bank(hidden, torch.tensor([[2], [-1]]))
    torch.testing.assert_close(by_sample[0], bank.feed_forward(hidden[0]) + adapted(bank, 2, hidden[0]))
    assert torch.equal(by_sample[1], bank.feed_forward(hidden)[1])
    ids = torch.tensor([[0, 1, 2, 1], [1, 1, 0, 2]])
    expected = torch.stack(
        [torch.stack([adapted(bank, e, x) for e, x in zip(*row, strict=True)]) for row in zip(ids, hidden, strict=True)]
    )
    torch.testing.assert_close(bank(hidden, ids), bank.feed_forward(hidden) + expected)


def test_shares_mix_adapters():
    bank, hidden = trained(adapters=2), torch.randn(2, 4, 6)
    mixed = bank(hidden, torch.tensor([0.25, 2.0]))
    expected = bank.feed_forward(hidden) + 0.25 * adapted(bank, 0, hidden) + 2 * adapted(bank, 1, hidden)
    torch.testing.assert_close(mixed, expected)


def test_a_router_gives_every_token_of_a_sample_one_adapter_and_learns():
    bank, hidden, condition = trained(adapters=3, condition=5), torch.randn(8, 4, 6), torch.randn(8, 5) * 4
    chosen = bank.router(condition).argmax(-1)
    assert len(set(chosen.tolist())) > 1
    routed = bank(hidden, condition=condition)
    expected = bank.feed_forward(hidden) + torch.stack([adapted(bank, e, x) for e, x in zip(chosen, hidden, strict=True)])
    torch.testing.assert_close(routed, expected)
    routed.square().sum().backward()
    assert all(weight.grad.any() for weight in bank.router.parameters())
    assert bank.feed_forward.weight.grad is None


@pytest.mark.parametrize("chosen", range(4))
def test_copies_of_one_adapter_are_that_adapter_bit_for_bit_whatever_the_router_says(chosen):
    """MoME's second stage starts from copies of the first stage's adapter."""
    single, hidden, condition = trained(adapters=1), torch.randn(2, 4, 6), torch.randn(2, 5)
    bank = AdapterBank(single.feed_forward, 6, hidden=3, adapters=4, condition=5)
    bank.copy_adapter(single)
    with torch.no_grad():
        bank.router[2].bias[chosen] = 1e3
    assert bank.router(condition).argmax(-1).tolist() == [chosen, chosen]
    assert torch.equal(bank(hidden, condition=condition), single(hidden))
    with torch.no_grad():
        assert torch.equal(bank(hidden, condition=condition), single(hidden))  # the chosen one runs alone
    by_id = AdapterBank(single.feed_forward, 6, hidden=3, adapters=4)
    by_id.copy_adapter(single)
    assert torch.equal(by_id(hidden, torch.tensor([[chosen], [0]])), single(hidden))
    with pytest.raises(ValueError, match="one of the same sizes"):
        bank.copy_adapter(trained(adapters=2))


def test_only_what_a_sample_chose_learns_from_it():
    bank, condition = trained(adapters=3, condition=5), torch.randn(1, 5)
    (chosen,) = bank.router(condition).argmax(-1).tolist()
    bank(torch.randn(1, 4, 6), condition=condition).square().sum().backward()
    for weight in (bank.down, bank.down_bias, bank.up, bank.up_bias, bank.strength):
        learns = weight.grad.flatten(1).any(-1) if weight.ndim > 1 else weight.grad.ne(0)
        assert learns.nonzero().flatten().tolist() == [chosen]


def test_gates_of_a_task_weigh_each_channel_of_each_adapter():
    """LION's mixture of adapters."""
    bank, hidden = trained(adapters=2, gated=True), torch.randn(3, 4, 6)
    nn.init.normal_(bank.gates)
    tasks = torch.tensor([[1], [0], [-1]])
    got = bank(hidden, tasks)
    for sample, task in enumerate([1, 0]):
        mixed = sum(bank.gates[task, adapter] * adapted(bank, adapter, hidden[sample]) for adapter in range(2))
        torch.testing.assert_close(got[sample], bank.feed_forward(hidden[sample]) + mixed)
    torch.testing.assert_close(got[2], bank.feed_forward(hidden[2]))


def test_at_first_a_task_s_gates_let_its_own_adapter_through_and_no_other():
    bank, hidden = trained(adapters=2, gated=True), torch.randn(2, 4, 6)
    before = bank(hidden, torch.tensor(0))
    torch.testing.assert_close(before, bank.feed_forward(hidden) + adapted(bank, 0, hidden))
    with torch.no_grad():
        for weight in (bank.down, bank.up, bank.up_bias, bank.strength):
            weight[1].add_(1)
    assert torch.equal(bank(hidden, torch.tensor(0)), before)
    bank(hidden, torch.tensor([[0], [1]])).square().sum().backward()
    assert bank.gates.grad.flatten(1).any(-1).all()


def test_one_adapter_of_a_7b_model_has_the_published_size():
    with torch.device("meta"):
        bank = AdapterBank(nn.Identity(), 4096, adapters=1)
    assert sum(weight.numel() for weight in bank.parameters()) == 2 * 64 * 4096 + 64 + 4096 + 1


def test_choices_that_make_no_sense_are_refused():
    hidden = torch.randn(2, 4, 6)
    with pytest.raises(ValueError, match="ids or shares"):
        trained(adapters=2)(hidden)
    with pytest.raises(ValueError, match="from 0 to 2"):
        trained(adapters=2)(hidden, torch.tensor([[0], [2]]))
    with pytest.raises(ValueError, match="no router"):
        trained(adapters=2)(hidden, condition=torch.randn(2, 5))
    with pytest.raises(ValueError, match="by a condition"):
        trained(adapters=2, condition=5)(hidden, torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match="looked up by a task"):
        trained(adapters=1, gated=True)(hidden)
    with pytest.raises(ValueError, match="not both"):
        AdapterBank(nn.Identity(), 4, adapters=2, gated=True, condition=5)
    with pytest.raises(ValueError, match="0 adapters"):
        AdapterBank(nn.Identity(), 4, adapters=0)
