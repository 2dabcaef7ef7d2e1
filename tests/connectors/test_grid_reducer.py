import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serval.connectors.grid_reducer import (
    average_pool,
    depth_to_space,
    from_windows,
    resample,
    space_to_depth,
    window_pool,
    windows,
)

sides = st.integers(1, 4)


@given(sides, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_space_to_depth_is_undone_value_by_value(side, rows, columns, width):
    features = torch.randn(2, rows * side, columns * side, width)
    packed = space_to_depth(features, side)
    assert packed.shape == (2, rows, columns, side * side * width)
    assert torch.equal(depth_to_space(packed, side), features)
    assert torch.equal(from_windows(windows(features, side), side), features)


def test_a_window_holds_its_own_patch_row_by_row():
    features = torch.arange(16.0).reshape(4, 4, 1)
    assert windows(features, 2)[..., 0].tolist() == [
        [[0, 1, 4, 5], [2, 3, 6, 7]],
        [[8, 9, 12, 13], [10, 11, 14, 15]],
    ]


def test_channels_stand_where_the_field_s_pixel_shuffle_puts_them():
    """Two interleaved transpositions, as Idefics3 describes its own."""
    features = torch.randn(3, 8, 4, 5)
    wide = features.reshape(3, 8, 2, 10).permute(0, 2, 1, 3)
    expected = wide.reshape(3, 2, 4, 20).permute(0, 2, 1, 3)
    assert torch.equal(space_to_depth(features, 2), expected)


def test_windows_of_one_are_the_flat_tokens():
    features = torch.randn(2, 3, 5, 4)
    assert torch.equal(windows(features, 1).flatten(1, 3), features.flatten(1, 2))


@given(sides, st.integers(1, 4))
def test_pooling_by_window_and_by_grid_agree_where_the_map_divides(side, cells):
    features = torch.randn(cells * side, cells * side, 3)
    torch.testing.assert_close(window_pool(features, side), average_pool(features, (cells, cells)))


def test_scores_weigh_the_tokens_of_a_window_and_of_no_other():
    features, scores = torch.randn(2, 6, 9, 4), torch.randn(2, 6, 9)
    torch.testing.assert_close(window_pool(features, 3, torch.ones(2, 6, 9)), window_pool(features, 3))
    pooled = window_pool(features, 3, scores)
    shares = scores[1, 3:, 6:].flatten().softmax(0)
    torch.testing.assert_close(pooled[1, 1, 2], shares @ features[1, 3:, 6:].flatten(0, 1))
    scores[1, 4, 7] = 1e4
    torch.testing.assert_close(window_pool(features, 3, scores)[1, 1, 2], features[1, 4, 7])
    assert torch.equal(window_pool(features, 3, scores)[0], pooled[0])


def test_pooling_keeps_the_mean():
    features = torch.randn(2, 24, 24, 5, dtype=torch.float64)
    torch.testing.assert_close(average_pool(features, (3, 3)).mean((1, 2)), features.mean((1, 2)))


def test_resampling_to_its_own_grid_changes_nothing_and_a_slope_stays_a_slope():
    slope = torch.arange(8.0).add(0.5).expand(6, 8)[..., None]
    assert torch.equal(resample(slope, (6, 8)), slope)
    halved = resample(slope, (3, 4))[0, :, 0]
    torch.testing.assert_close(halved, torch.tensor([1.0, 3.0, 5.0, 7.0]))


def test_any_leading_shape():
    features = torch.randn(2, 5, 6, 6, 3)
    assert average_pool(features, (2, 3)).shape == (2, 5, 2, 3, 3)
    assert torch.equal(resample(features, (4, 4))[1, 2], resample(features[1, 2], (4, 4)))


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="5 by 6"):
        windows(torch.zeros(5, 6, 1), 2)
    with pytest.raises(ValueError, match="width of 6"):
        depth_to_space(torch.zeros(2, 2, 6), 2)
    with pytest.raises(ValueError, match="not 3 by 3"):
        from_windows(torch.zeros(2, 2, 4, 1), 3)
