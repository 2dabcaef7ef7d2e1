import pytest
import torch
from torch import nn

from serval.connectors.soft_router import SoftRouter, contributions, mix


def shaken(router):
    for weight in router.parameters():
        nn.init.normal_(weight, std=0.3)
    return router


def sources(count=2, tokens=10, width=8):
    return [torch.randn(3, tokens, width) for _ in range(count)]


def move():
    return shaken(SoftRouter(6, sources=3))


def token_aggregation():
    return shaken(SoftRouter(8, sources=2, positions=10, guidance="cls"))


def test_an_instruction_gives_each_sample_one_weight_for_each_source():
    router, instruction, maps = move(), torch.randn(3, 6), sources(3)
    weights = router.weights(maps, instruction)
    assert weights.shape == (3, 1, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1))
    expected = sum(weights[:, :, i : i + 1] * maps[i] for i in range(3))
    torch.testing.assert_close(router(maps, instruction), expected)
    assert torch.equal(router.weights(sources(3), instruction), weights)  # other pictures, the same weights
    assert not torch.equal(router.weights(maps, instruction + 1), weights)


def test_a_frame_s_first_token_gives_each_token_weights_of_its_own():
    router, (seen, ego) = token_aggregation(), sources()
    weights = router.weights([seen, ego])
    assert weights.shape == (3, 10, 2) and router([seen, ego]).shape == (3, 10, 8)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 10))
    assert (weights[:, 0] - weights[:, 1]).abs().max() > 1e-2
    first, _, second = router.layers
    expected = second(nn.functional.gelu(first(seen[:, 0]))).view(3, 10, 2).softmax(-1)
    torch.testing.assert_close(weights, expected)


def test_what_does_not_guide_changes_no_weight():
    router, (seen, ego) = token_aggregation(), sources()
    weights, other = router.weights([seen, ego]), seen.clone()
    other[:, 1:] += 1
    assert torch.equal(router.weights([seen, torch.randn_like(ego)]), weights)
    assert torch.equal(router.weights([other, ego]), weights)
    other[:, 0] += 1
    assert not torch.equal(router.weights([other, ego]), weights)
    second = shaken(SoftRouter(8, sources=2, positions=10, guidance="cls", guide=1))
    assert torch.equal(second.weights([seen, ego]), second.weights([other, ego]))


@pytest.mark.parametrize("chosen", [0, 1])
def test_saturated_logits_give_one_source_bit_for_bit(chosen):
    router, both = token_aggregation(), sources()
    nn.init.zeros_(router.layers[2].weight)
    with torch.no_grad():
        router.layers[2].bias.copy_(torch.tensor([-1e4, 1e4] if chosen else [1e4, -1e4]).repeat(10))
    assert torch.equal(router(both), both[chosen])


def test_a_single_source_comes_through_bit_for_bit():
    (only,) = sources(1)
    assert torch.equal(shaken(SoftRouter(6, sources=1))([only], torch.randn(3, 6)), only)


def test_learned_weights_begin_alike_and_learn():
    router, both = SoftRouter(8, sources=2, positions=10, guidance="learned"), sources()
    torch.testing.assert_close(router(both), (both[0] + both[1]) / 2)
    router(both).square().sum().backward()
    assert router.static.grad.abs().min() > 0


def test_the_size_of_what_a_source_adds_is_not_its_weight():
    loud, quiet = torch.ones(1, 2, 4) * 10, torch.ones(1, 2, 4)
    weights = torch.tensor([[[0.25, 0.75]]])
    torch.testing.assert_close(contributions([loud, quiet], weights), torch.tensor([[5.0, 1.5]]))
    torch.testing.assert_close(mix([loud, quiet], weights), torch.full((1, 2, 4), 3.25))


def test_the_published_router_has_its_published_size():
    with torch.device("meta"):
        router = SoftRouter(4096, sources=2, positions=10, guidance="cls")
    assert sum(weight.numel() for weight in router.parameters()) == 4096 * 4096 + 4096 + 4096 * 20 + 20


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="Source 2 of 2"):
        SoftRouter(8, sources=2, guide=2)
    with pytest.raises(ValueError, match="just where an instruction guides"):
        move()(sources(3))
    with pytest.raises(ValueError, match="just where an instruction guides"):
        token_aggregation()(sources(), torch.randn(3, 8))
    with pytest.raises(ValueError, match="expected 2"):
        token_aggregation()(sources(3))
    with pytest.raises(ValueError, match="9 tokens for weights of 10"):
        token_aggregation()(sources(tokens=9))
