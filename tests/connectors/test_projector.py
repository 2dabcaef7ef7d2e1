import pytest
import torch
from torch.nn import functional

from serval.connectors.projector import Projector


def test_one_map_is_a_linear_layer():
    projector, features = Projector(5, 7, depth=1), torch.randn(2, 3, 5)
    weight, bias = projector.layers[0].weight, projector.layers[0].bias
    assert torch.equal(projector(features), functional.linear(features, weight, bias))


def test_two_maps_are_linear_gelu_linear_with_a_hidden_layer_as_wide_as_the_output():
    projector, features = Projector(5, 7), torch.randn(2, 3, 5)
    first, second = projector.layers[0], projector.layers[2]
    assert second.weight.shape == (7, 7)
    assert torch.equal(projector(features), second(functional.gelu(first(features))))


def test_each_token_is_mapped_alone():
    projector, features = Projector(5, 7), torch.randn(1, 6, 5)
    order = torch.randperm(6)
    torch.testing.assert_close(projector(features[:, order]), projector(features)[:, order])


def test_the_size_is_that_of_lion_fs_second_connector():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in Projector(768, 4096).parameters()) == 19_931_136


def test_no_map_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Projector(5, 7, depth=0)
