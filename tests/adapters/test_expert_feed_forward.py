from math import log

import pytest
import torch
from torch import nn
from torch.nn import functional

from serval.adapters.expert_feed_forward import ExpertFeedForward, Routing, balance_loss, routings, z_loss
from serval.conversation.sequence import MultimodalSequence


def dense():
    return nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))


def different(**options):
    """Experts that no longer agree."""
    layer = ExpertFeedForward(dense(), 6, **options)
    for weight in layer.parameters():
        nn.init.normal_(weight)
    return layer


def steered(logits, **options):
    """How a layer whose router gives these logits, one row for each token, routes."""
    layer = ExpertFeedForward(nn.Identity(), len(logits), experts=logits.shape[1], **options)
    with torch.no_grad():
        layer.router.weight.copy_(logits.T)
    return layer.route(torch.eye(len(logits))[None])


def sequence(valid):
    batch, length = valid.shape
    zeros = torch.zeros(batch, length, dtype=torch.long)
    return MultimodalSequence(
        torch.zeros(batch, length, 6), zeros, zeros - 1, zeros.double(), zeros.float(), zeros - 100, valid
    )


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


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "qwen3_moe, shares as they are"])
def test_it_computes_what_the_blocks_of_mixtral_and_qwen3_do(kind):
    from transformers.models.mixtral.modeling_mixtral import MixtralConfig, MixtralSparseMoeBlock
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeConfig, Qwen3MoeSparseMoeBlock

    renormalise = "as they are" not in kind
    sizes = {"hidden_size": 6, "num_experts_per_tok": 2, "experts_implementation": "eager"}
    if kind == "mixtral":
        block = MixtralSparseMoeBlock(MixtralConfig(**sizes, intermediate_size=8, num_local_experts=4)).eval()
    else:
        block = Qwen3MoeSparseMoeBlock(
            Qwen3MoeConfig(**sizes, moe_intermediate_size=8, num_experts=4, norm_topk_prob=renormalise)
        ).eval()
    for weight in block.parameters():
        nn.init.normal_(weight)

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate_up, self.down = nn.Linear(6, 16, bias=False), nn.Linear(8, 6, bias=False)

        def forward(self, hidden):
            gate, up = self.gate_up(hidden).chunk(2, dim=-1)
            return self.down(functional.silu(gate) * up)

    layer = ExpertFeedForward(Gated(), 6, experts=4, renormalise=renormalise)
    with torch.no_grad():
        layer.router.weight.copy_(block.gate.weight)
        for number, expert in enumerate(layer.experts):
            expert.gate_up.weight.copy_(block.experts.gate_up_proj[number])
            expert.down.weight.copy_(block.experts.down_proj[number])
        hidden = torch.randn(2, 7, 6)
        torch.testing.assert_close(layer(hidden), block(hidden), rtol=1e-5, atol=1e-5)


def test_without_a_capacity_company_does_not_matter():
    layer, hidden = different(experts=4), torch.randn(6, 5, 6)
    torch.testing.assert_close(layer(hidden)[2:3], layer(hidden[2:3]))


def test_experts_may_change_places_with_their_rows_of_the_router():
    layer, other, hidden = different(experts=4), different(experts=4), torch.randn(2, 5, 6)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        other.router.weight.copy_(layer.router.weight[order])
        for expert, number in zip(other.experts, order, strict=True):
            expert.load_state_dict(layer.experts[number].state_dict())
    torch.testing.assert_close(other(hidden), layer(hidden))


def test_the_balance_loss_is_one_for_an_even_load_and_the_number_of_experts_for_a_collapsed_one():
    even, collapsed = torch.eye(4) * 1e-6, torch.zeros(4, 4)
    collapsed[:, 2] = 100
    assert balance_loss([steered(even)]).item() == pytest.approx(1)
    assert balance_loss([steered(collapsed)]).item() == pytest.approx(4)


def test_the_balance_loss_over_two_choices():
    """CLIP-MoE: 2 for an even load, the number of experts where one pair takes all the mass of all tokens."""
    pair = torch.tensor([[50.0, 50.0, 0.0, 0.0]]).repeat(6, 1)
    assert balance_loss([steered(pair)], choices=2).item() == pytest.approx(4)
    even = torch.tensor([[1.0, 0.5, 0, 0], [0, 1.0, 0.5, 0], [0, 0, 1.0, 0.5], [0.5, 0, 0, 1.0]]) * 1e-6
    assert balance_loss([steered(even)], choices=2).item() == pytest.approx(2)


def test_the_balance_loss_of_all_layers_is_mixtral_s():
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    layers = [torch.randn(10, 4) * 2 for _ in range(3)]
    valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
    notes = [Routing(logits, logits.topk(2).indices, torch.ones(10, 2), valid.flatten()) for logits in layers]
    expected = load_balancing_loss_func(tuple(layers), num_experts=4, top_k=2, attention_mask=valid.long())
    torch.testing.assert_close(balance_loss(notes, choices=2), expected)


def test_the_z_loss_is_the_mean_square_of_the_log_of_the_sum():
    logits = torch.tensor([[0.0, 0.0], [log(3.0), 0.0], [9.0, 9.0]])
    routing = Routing(logits, logits.argmax(-1, keepdim=True), torch.ones(3, 1), torch.tensor([True, True, False]))
    assert z_loss([routing]).item() == pytest.approx((log(2) ** 2 + log(4) ** 2) / 2)


def test_second_choices_queue_behind_all_first_choices():
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    routing = steered(logits, capacity=0.75)  # room for ceil(0.75 · 2 · 4 / 2) = 3 each
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


@pytest.mark.parametrize("capacity", [None, 0.75])
def test_padding_takes_no_room_and_comes_out_as_zero(capacity):
    layer, hidden = different(experts=3, capacity=capacity), torch.randn(2, 5, 6)
    valid = torch.tensor([[False, False, True, True, True], [False, True, True, True, True]])
    with routings(layer) as notes:
        padded = layer(hidden, sequence(valid))
        alone = layer(hidden[valid][None])
    torch.testing.assert_close(padded[valid], alone[0])
    assert not padded[~valid].any()
    torch.testing.assert_close(balance_loss(notes[:1]), balance_loss(notes[1:]))
    torch.testing.assert_close(z_loss(notes[:1]), z_loss(notes[1:]))


@pytest.mark.parametrize("capacity", [0.5, 1.0, 2.0])
def test_experts_that_choose_take_just_their_number_of_tokens_and_weigh_them_by_probability(capacity):
    layer = different(experts=4, top_k=None, capacity=capacity, renormalise=False)
    hidden = torch.randn(2, 8, 6)
    tokens = hidden.flatten(0, 1)
    probabilities = layer.router(tokens).softmax(-1)
    expected = torch.zeros_like(tokens)
    for number, expert in enumerate(layer.experts):
        for token in probabilities[:, number].argsort(descending=True)[: int(capacity * 4)].tolist():
            expected[token] += probabilities[token, number] * expert(tokens[token])
    routing = layer.route(hidden)
    assert routing.shares.gt(0).sum(0).tolist() == [capacity * 4] * 4
    torch.testing.assert_close(layer(hidden).flatten(0, 1), expected)


def test_one_expert_that_takes_all_tokens_is_the_dense_layer_and_equal_experts_with_room_for_all_are():
    feed_forward, hidden = dense(), torch.randn(3, 7, 6)
    one = ExpertFeedForward(feed_forward, 6, experts=1, top_k=None, capacity=1.0, renormalise=False)
    four = ExpertFeedForward(feed_forward, 6, experts=4, top_k=None, capacity=4.0)
    torch.testing.assert_close(one(hidden), feed_forward(hidden))
    torch.testing.assert_close(four(hidden), feed_forward(hidden))


def test_a_token_that_no_expert_takes_comes_out_as_zero_and_padding_is_never_taken():
    layer = different(experts=2, top_k=None, capacity=0.5, renormalise=False)
    hidden = torch.randn(1, 8, 6)
    taken = layer.route(hidden).shares.gt(0).any(-1)
    assert 2 <= taken.sum() <= 4
    assert torch.equal(layer(hidden)[0].any(-1), taken)
    valid = torch.tensor([[True] * 4 + [False] * 4])
    assert not layer.route(hidden, valid).shares[4:].any()
    torch.testing.assert_close(layer.route(hidden, valid).shares[:4], layer.route(hidden[:, :4]).shares)


def test_experts_that_choose_cannot_read_a_sequence_in_order():
    layer = different(experts=2, top_k=None, capacity=1.0)
    hidden, longer = torch.randn(1, 4, 6), torch.randn(1, 9, 6)
    longer[:, :4] = hidden
    assert not torch.allclose(layer(longer)[:, :4], layer(hidden))  # what follows changes what was
    with pytest.raises(ValueError, match="cannot stand in a decoder"):
        layer(hidden, sequence(torch.ones(1, 4, dtype=torch.bool)))


def test_router_and_chosen_experts_learn():
    layer = different(experts=4)
    layer(torch.randn(4, 8, 6)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in layer.parameters())


@pytest.mark.parametrize(
    "options", [{"top_k": 2}, {"top_k": 2, "renormalise": False}, {"top_k": None, "capacity": 1.5, "renormalise": False}]
)
def test_the_gradient_is_that_of_the_plain_weighted_sum(options):
    layer, hidden = different(experts=3, **options).double(), torch.randn(1, 5, 6)
    layer.router.float()
    hidden = hidden.double().requires_grad_()
    layer(hidden).square().sum().backward()
    got, hidden.grad = hidden.grad, None
    routing = layer.route(hidden)
    outputs = torch.stack([expert(hidden[0]) for expert in layer.experts], dim=1)
    chosen = outputs.gather(1, routing.experts[..., None].expand(-1, -1, 6))
    (chosen * routing.shares[..., None]).sum(1).square().sum().backward()
    torch.testing.assert_close(got, hidden.grad, rtol=1e-5, atol=1e-5)


def test_routings_are_noted_in_the_order_of_the_calls_while_asked_for():
    layers, hidden = nn.Sequential(different(experts=2), different(experts=3)), torch.randn(1, 4, 6)
    with routings(layers) as notes:
        layers(hidden)
        layers(hidden)
    layers(hidden)
    assert [note.logits.shape[1] for note in notes] == [2, 3, 2, 3]
    balance_loss(notes[:1]).backward()
    assert layers[0].router.weight.grad.any()


def test_choices_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="3 of 2"):
        ExpertFeedForward(dense(), 6, experts=2, top_k=3)
    with pytest.raises(ValueError, match="need a capacity"):
        ExpertFeedForward(dense(), 6, experts=2, top_k=None)
