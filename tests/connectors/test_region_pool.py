import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serval.connectors.grid_reducer import average_pool
from serval.connectors.region_pool import box_pool, mask_pool, masks_of_boxes, masks_on_grid, quadrant_pool
from serval.media.box import Box

WHOLE = Box(0.0, 0.0, 1.0, 1.0)
fractions = st.floats(0, 1)


def test_the_four_quadrants_are_a_permutation_of_the_six_by_six_pool():
    features = torch.randn(2, 24, 24, 5)
    fine = average_pool(features, (6, 6))
    rows = fine.reshape(2, 2, 3, 2, 3, 5).transpose(2, 3).reshape(2, 4, 9, 5)
    assert torch.equal(quadrant_pool(features), rows)
    coarse = quadrant_pool(features).reshape(2, 36, 5)
    for channel in range(5):
        assert torch.equal(coarse[..., channel].sort().values, fine.flatten(1, 2)[..., channel].sort().values)


def test_each_part_is_pooled_alone():
    features = torch.zeros(4, 4, 1)
    features[:2, 2:] = 1
    assert quadrant_pool(features, (1, 1))[:, 0, 0].tolist() == [0, 1, 0, 0]


def test_the_whole_picture_is_the_mean_of_the_map():
    features = torch.randn(3, 24, 24, 8)
    torch.testing.assert_close(box_pool(features, [WHOLE])[:, 0], features.mean((1, 2)))


def test_a_box_of_one_cell_is_that_cell():
    features = torch.randn(4, 8, 3)
    assert torch.equal(box_pool(features, [Box(0.25, 0.5, 0.375, 0.75)])[0], features[2, 2])


@given(fractions, fractions, fractions, fractions)
def test_every_box_has_tokens_and_they_lie_within_it(x1, y1, x2, y2):
    box = Box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    (mask,) = masks_of_boxes([box], (6, 9))
    assert mask.any()
    rows, columns = mask.nonzero(as_tuple=True)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        cell = Box(column / 9, row / 6, (column + 1) / 9, (row + 1) / 6)
        assert cell.left <= box.right + 1e-6 and cell.right >= box.left - 1e-6
        assert cell.top <= box.bottom + 1e-6 and cell.bottom >= box.top - 1e-6


def test_no_boxes_are_no_tokens():
    assert box_pool(torch.randn(2, 6, 6, 4), []).shape == (2, 0, 4)


def test_a_mask_weighs_cells_by_the_share_it_covers():
    pixels = torch.zeros(1, 8, 8, dtype=torch.bool)
    pixels[0, :4, :6] = True
    weights = masks_on_grid(pixels, (2, 2))
    assert weights[0].tolist() == [[1.0, 0.5], [0.0, 0.0]]
    features = torch.tensor([[3.0, 6.0], [100.0, 100.0]])[..., None]
    assert mask_pool(features, weights).tolist() == [[4.0]]


def test_an_empty_mask_gives_zeros():
    assert mask_pool(torch.randn(4, 4, 3), torch.zeros(2, 4, 4, dtype=torch.bool)).eq(0).all()


def test_a_map_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="5 by 4"):
        quadrant_pool(torch.zeros(5, 4, 1))
