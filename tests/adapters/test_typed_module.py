from copy import deepcopy

import pytest
import torch
from torch import nn

from serval.adapters.typed_module import TypedModule


def three(kind=lambda: nn.Linear(6, 5)):
    module = TypedModule([kind() for _ in range(3)])
    for weight in module.parameters():
        nn.init.normal_(weight)
    return module


@pytest.mark.parametrize("kind", [lambda: nn.Linear(6, 5), lambda: nn.LayerNorm(6), lambda: nn.RMSNorm(6)])
def test_each_token_passes_through_the_part_of_its_id(kind):
    module, hidden = three(kind), torch.randn(2, 4, 6)
    ids = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])
    expected = torch.stack(
        [torch.stack([module.parts[e](x) for e, x in zip(*row, strict=True)]) for row in zip(ids, hidden, strict=True)]
    )
    torch.testing.assert_close(module(hidden, ids), expected)


def test_tokens_may_have_several_axes():
    module, hidden = three(lambda: nn.RMSNorm(6)), torch.randn(2, 4, 3, 6)
    ids = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])
    torch.testing.assert_close(module(hidden, ids)[1, 1], module.parts[2](hidden[1, 1]))


def test_one_id_for_a_sample_is_that_id_for_each_of_its_tokens():
    module, hidden = three(), torch.randn(2, 4, 6)
    ids = torch.tensor([[1], [0]])
    assert torch.equal(module(hidden, ids), module(hidden, ids.expand(2, 4)))


def test_tokens_of_one_type_run_as_they_would_alone_bit_for_bit():
    module, hidden = three(), torch.randn(2, 50, 6)
    assert torch.equal(module(hidden, torch.full((2, 50), 1)), module.parts[1](hidden))
    assert module(hidden[:, :0], torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 5)


def test_types_may_change_names_together_with_their_parts():
    module, hidden = three(), torch.randn(2, 4, 6)
    ids = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 0]])
    order = torch.tensor([1, 2, 0])  # the new name of each type
    renamed = TypedModule([module.parts[2], module.parts[0], module.parts[1]])
    torch.testing.assert_close(renamed(hidden, order[ids]), module(hidden, ids))


def test_a_part_learns_from_its_own_tokens_and_an_absent_one_not_at_all():
    module, hidden = three(), torch.randn(2, 4, 6, requires_grad=True)
    module(hidden, torch.tensor([[0, 2, 2, 0], [0, 0, 0, 0]])).square().sum().backward()
    assert module.parts[1].weight.grad is None
    whole = [part.weight.grad.clone() for part in (module.parts[0], module.parts[2])]
    module.zero_grad()
    module.parts[2](hidden[0, 1:3]).square().sum().backward()
    torch.testing.assert_close(whole[1], module.parts[2].weight.grad)
    assert whole[0].any() and hidden.grad.any(-1).all()


def test_copies_are_parts_of_their_own():
    layer = nn.Linear(6, 5)
    module = TypedModule([layer, deepcopy(layer)])
    nn.init.zeros_(module.parts[1].weight)
    assert module.parts[0].weight.any()


def test_ids_without_a_part_are_refused():
    with pytest.raises(ValueError, match="from -1 to 3"):
        three()(torch.randn(1, 2, 6), torch.tensor([[-1, 3]]))
    with pytest.raises(ValueError, match="no part"):
        TypedModule([])
