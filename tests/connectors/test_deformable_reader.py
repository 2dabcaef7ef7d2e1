import pytest
import torch
from torch import nn

from serval.connectors.deformable_reader import DeformableReader, DeformableReading, sample_points
from serval.connectors.grid_reducer import average_pool


def test_at_the_centre_of_a_cell_is_what_the_cell_holds_and_halfway_the_mean():
    maps = torch.randn(2, 4, 5, 3)
    down, across = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(5) + 0.5) / 5, indexing="ij")
    centres = torch.stack([across, down], dim=-1).expand(2, 4, 5, 2)
    torch.testing.assert_close(sample_points(maps, centres), maps)
    between = torch.tensor([[[2 / 5, 0.5 / 4]]]).expand(2, 1, 2)
    torch.testing.assert_close(sample_points(maps, between)[:, 0], maps[:, 0, 1:3].mean(1))
    assert not sample_points(maps, torch.full((2, 1, 2), 3.0)).any()


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (2, 11), (1, 1)])
def test_as_many_tokens_whatever_the_map_s_shape(shape):
    reader = DeformableReader(16, (2, 3), layers=2, heads=4)
    assert reader(torch.randn(2, *shape, 16)).shape == (2, 6, 16)


def test_with_all_output_maps_at_zero_it_is_the_mean_of_each_cell():
    reader, maps = DeformableReader(16, (2, 3), layers=3, heads=4), torch.randn(2, 7, 5, 16)
    for layer in reader.layers:
        for part in (layer.among.out_proj, layer.out, layer.feed[2]):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    assert torch.equal(reader(maps), average_pool(maps, (2, 3)).flatten(1, 2))


def test_a_token_reads_the_weighed_sum_of_what_its_heads_find_at_their_points():
    layer = DeformableReading(8, (1, 2), heads=2, points=3)
    for weight in layer.parameters():
        nn.init.normal_(weight, std=0.2)
    tokens, maps, references = torch.randn(2, 2, 8), torch.randn(2, 4, 6, 8), torch.tensor([[0.25, 0.5], [0.75, 0.5]])
    offsets = layer.offsets(tokens).view(2, 2, 2, 3, 2)
    weights = layer.weights(tokens).view(2, 2, 2, 3).softmax(-1)
    values = layer.values(maps).view(2, 4, 6, 2, 4)
    expected = torch.zeros(2, 2, 2, 4)
    for batch, token, head, point in torch.cartesian_prod(*map(torch.arange, (2, 2, 2, 3))).tolist():
        place = references[token] + offsets[batch, token, head, point]
        found = sample_points(values[batch : batch + 1, :, :, head], place[None, None])[0, 0]
        expected[batch, token, head] += weights[batch, token, head, point] * found
    torch.testing.assert_close(layer._sampled(tokens, maps, references), layer.out(expected.flatten(2)))


def test_at_first_the_points_of_a_cell_lie_within_it_and_apart():
    layer = DeformableReading(16, (2, 4), heads=4, points=4)
    points = layer.offsets.bias.detach().view(4, 4, 2)
    assert (points[..., 0].abs() <= 1 / 8 + 1e-6).all() and (points[..., 1].abs() <= 1 / 4 + 1e-6).all()
    assert torch.cdist(points.flatten(0, 1), points.flatten(0, 1)).add(torch.eye(16)).min() > 1e-3


def test_every_weight_learns():
    reader = DeformableReader(16, (2, 3), layers=2, heads=4)
    (reader(torch.randn(2, 7, 5, 16)) * torch.randn(2, 6, 16)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in reader.parameters())


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="does not divide"):
        DeformableReader(16, (2, 2), heads=5)
