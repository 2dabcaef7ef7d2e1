"""Fewer tokens, as many as are expected, and none that hears what stands behind its sound."""

import pytest
import torch

from serval.connectors.strided_projector import StridedProjector


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (2, 2), (3, 1), (5, 4)])
def test_tokens_are_a_share_rounded_up_and_padding_is_not_heard(kernel, stride):
    torch.manual_seed(0)
    model = StridedProjector(6, 8, 10, kernel=kernel, stride=stride).requires_grad_(False)
    for count in (1, 2, 7, 8):
        features = torch.randn(1, count, 6)
        alone, valid = model(features)
        assert alone.shape == (1, -(-count // stride), 10) and valid is None
        padded = torch.cat([features, torch.full((1, 5, 6), 9.0)], 1)
        tokens, valid = model(padded, torch.arange(count + 5)[None] < count)
        torch.testing.assert_close(tokens[valid], alone[0], atol=1e-5, rtol=1e-5)


def test_a_stride_beyond_the_kernel_would_miss_tokens():
    with pytest.raises(ValueError, match="passes over tokens"):
        StridedProjector(6, 8, 10, kernel=2, stride=3)
