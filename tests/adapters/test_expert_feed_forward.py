from types import SimpleNamespace

import pytest
import torch
from torch import nn

from serval.adapters.expert_feed_forward import ExpertFeedForward


def dense():
    return nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))


def different(**options):
    """Experts that no longer agree."""
    layer = ExpertFeedForward(dense(), 6, **options)
    for weight in layer.parameters():
        nn.init.normal_(weight)
    return layer


def test_top_two_shares_are_a_softmax_over_the_two_largest_logits():
    layer, hidden = different(experts=4), torch.randn(2, 5, 6)
    expected = torch.empty_like(hidden)
    for batch in range(2):
        for place in range(5):
            token = hidden[batch, place]
            logits, chosen = layer.router(token).topk(2)
            expected[batch, place] = sum(
                share * layer.experts[expert](token) for share, expert in zip(logits.softmax(-1), chosen, strict=True)
            )
    torch.testing.assert_close(layer(hidden), expected)


@pytest.mark.parametrize("options", [{"experts": 4}, {"experts": 1, "top_k": 1}, {"experts": 3, "top_k": 3}])
def test_equal_experts_equal_the_dense_layer_whatever_the_router_says(options):
    feed_forward, hidden = dense(), torch.randn(3, 7, 6)
    layer = ExpertFeedForward(feed_forward, 6, **options)
    nn.init.normal_(layer.router.weight, std=5)
    torch.testing.assert_close(layer(hidden), feed_forward(hidden))


def test_given_ids_send_each_token_to_its_expert():
    layer, hidden = different(experts=3, top_k=None), torch.randn(2, 4, 6)
    ids = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])
    expected = torch.stack(
        [torch.stack([layer.experts[e](x) for e, x in zip(*row, strict=True)]) for row in zip(ids, hidden, strict=True)]
    )
    torch.testing.assert_close(layer(hidden, ids), expected)
    torch.testing.assert_close(layer(hidden, torch.tensor([[1], [0]]))[0], layer.experts[1](hidden[0]))


def test_without_a_capacity_company_does_not_matter():
    layer, hidden = different(experts=4), torch.randn(6, 5, 6)
    torch.testing.assert_close(layer(hidden)[2:3], layer(hidden[2:3]))


def steered(layer, logits):
    """The layer with a router that gives these logits, one row for each token."""
    layer.router = SimpleNamespace(weight=logits.T)
    return layer.route(torch.eye(len(logits))[None])


def test_the_balance_loss_is_one_for_an_even_load_and_the_number_of_experts_for_a_collapsed_one():
    layer = ExpertFeedForward(dense(), 6, experts=4)
    del layer.router
    assert steered(layer, torch.eye(4) * 1e-6).balance.item() == pytest.approx(1)
    collapsed = torch.zeros(4, 4)
    collapsed[:, 2] = 100
    assert steered(layer, collapsed).balance.item() == pytest.approx(4)


def test_second_choices_queue_behind_all_first_choices():
    layer = ExpertFeedForward(dense(), 6, experts=2, capacity=0.75)  # room for ceil(0.75 · 2 · 4 / 2) = 3 each
    del layer.router
    routing = steered(layer, torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    assert routing.experts.tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]
    assert routing.shares.gt(0).tolist() == [[True, False], [True, True], [True, True], [True, False]]
    torch.testing.assert_close(routing.shares.sum(-1), torch.ones(4))


def test_a_token_with_no_room_anywhere_comes_out_as_zero():
    layer = different(experts=2, top_k=1, capacity=0.5)
    nn.init.zeros_(layer.router.weight)  # all choose alike: room for one of four
    out = layer(torch.randn(1, 4, 6))
    assert out[0].any(-1).sum() == 1
    layer.capacity = 0.0
    assert not layer(torch.randn(1, 4, 6)).any()


def test_router_and_chosen_experts_learn():
    layer = different(experts=4)
    layer(torch.randn(4, 8, 6)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in layer.parameters())


def test_the_gradient_is_that_of_the_plain_weighted_sum():
    layer, hidden = different(experts=3, top_k=2).double(), torch.randn(1, 5, 6)
    layer.router.float()
    hidden = hidden.double().requires_grad_()
    layer(hidden).square().sum().backward()
    got, hidden.grad = hidden.grad, None
    routing = layer.route(hidden)
    outputs = torch.stack([expert(hidden[0]) for expert in layer.experts], dim=1)
    chosen = outputs.gather(1, routing.experts[..., None].expand(-1, -1, 6))
    (chosen * routing.shares[..., None]).sum(1).square().sum().backward()
    torch.testing.assert_close(got, hidden.grad, rtol=1e-5, atol=1e-5)


def test_choices_that_make_no_sense_are_refused():
    hidden = torch.randn(1, 3, 6)
    with pytest.raises(ValueError, match="3 of 2"):
        ExpertFeedForward(dense(), 6, experts=2, top_k=3)
    with pytest.raises(ValueError, match="needs a router"):
        ExpertFeedForward(dense(), 6, experts=2, top_k=None, capacity=1.0)
    with pytest.raises(ValueError, match="just one"):
        different(experts=2, top_k=None)(hidden)
    with pytest.raises(ValueError, match="just one"):
        different(experts=2)(hidden, torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="from 0 to 2"):
        different(experts=2, top_k=None)(hidden, torch.tensor([[0, 1, 2]]))
