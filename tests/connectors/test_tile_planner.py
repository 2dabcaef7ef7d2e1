from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.connectors.tile_planner import (
    candidate_grids,
    plan_by_shape,
    plan_by_width,
    plan_padded,
    plan_stretched,
    plan_together,
    share_tiles,
)

pixels = st.integers(1, 5000)


@given(st.integers(1, 40))
def test_candidates_are_all_grids_within_the_budget_once(budget):
    grids = candidate_grids(budget)
    assert len(set(grids)) == len(grids) == sum(budget // columns for columns in range(1, budget + 1))
    assert all(columns * rows <= budget for columns, rows in grids)


@given(pixels, pixels, st.integers(1, 12))
def test_a_stretched_plan_keeps_to_its_budget_and_no_grid_is_nearer(width, height, budget):
    plan = plan_stretched(width, height, tile=448, budget=budget)
    assert plan.columns * plan.rows <= budget
    assert plan.count == plan.columns * plan.rows + (plan.columns * plan.rows > 1)
    distance = abs(width / height - plan.columns / plan.rows)
    assert all(distance <= abs(width / height - columns / rows) for columns, rows in candidate_grids(budget))


@given(pixels, pixels, st.integers(1, 12))
def test_the_boxes_tile_the_canvas(width, height, budget):
    plan = plan_stretched(width, height, tile=448, budget=budget)
    boxes = plan.boxes()
    assert len(boxes) == plan.columns * plan.rows
    assert sum(box.area for box in boxes) == pytest.approx(1)
    assert all(a.intersection(b) < 1e-9 for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    ("picture", "grid"),
    [
        ((448, 448), (1, 1)),
        ((800, 1300), (2, 3)),  # 3 by 5 would be nearer and costs 15 tiles
        ((1000, 500), (2, 1)),  # as near as 4 by 2, which it would not fill by half
        ((1300, 650), (4, 2)),
        ((4000, 4000), (3, 3)),
        ((100, 4000), (1, 12)),
    ],
)
def test_internvl_s_choice_within_twelve_tiles(picture, grid):
    plan = plan_stretched(*picture, tile=448, budget=12)
    assert (plan.columns, plan.rows) == grid


@given(pixels, pixels)
def test_a_padded_plan_fits_its_canvas_touches_two_sides_and_keeps_the_aspect_ratio(width, height):
    plan = plan_padded(width, height, tile=336)
    (across, down), (canvas_across, canvas_down) = plan.size, plan.canvas
    assert across <= canvas_across and down <= canvas_down
    assert across == canvas_across or down == canvas_down
    scale = min(canvas_across / width, canvas_down / height)
    assert abs(across - max(1, width * scale)) < 1.01 and abs(down - max(1, height * scale)) < 1.01
    assert plan.count == plan.columns * plan.rows + 1


@given(pixels, pixels)
def test_no_other_grid_would_keep_more_of_the_picture(width, height):
    grids = candidate_grids(4)
    plan = plan_padded(width, height, tile=336, grids=grids)

    def kept(grid):
        scale = min(Fraction(grid[0] * 336, width), Fraction(grid[1] * 336, height))
        return min(int(width * scale) * int(height * scale), width * height)

    assert kept((plan.columns, plan.rows)) == max(map(kept, grids))


@pytest.mark.parametrize(
    ("picture", "grid"),
    [
        ((1000, 300), (3, 1)),
        ((300, 1000), (1, 3)),
        ((2000, 2000), (2, 2)),
        ((672, 336), (2, 1)),
        ((200, 300), (2, 1)),  # every grid keeps all of its pixels, two pad least, and the first of them is taken
    ],
)
def test_llava_next_s_choice(picture, grid):
    plan = plan_padded(*picture, tile=336)
    assert (plan.columns, plan.rows) == grid


@pytest.mark.parametrize(
    ("picture", "grid"),
    [
        ((224, 224), (1, 1)),
        ((448, 224), (2, 1)),
        ((200, 450), (1, 2)),
        ((1344, 1344), (6, 6)),
        ((900, 600), (4, 3)),  # 4 by 3 overlaps it most; 3 by 2 has its ratio, and too few pixels
        ((5000, 5000), (6, 6)),
        ((9000, 250), (12, 1)),  # no more than twelve in a row
    ],
)
def test_texthawk_s_choice(picture, grid):
    plan = plan_by_shape(*picture, tile=224)
    assert (plan.columns, plan.rows) == grid
    assert plan.size == plan.canvas and plan.count == grid[0] * grid[1] + 1


@given(pixels, pixels)
def test_texthawk_s_grid_is_one_of_the_nine_that_overlap_best_and_the_best_of_them(width, height):
    plan = plan_by_shape(width, height, tile=224)
    assert plan.columns * plan.rows <= 36 and max(plan.columns, plan.rows) <= 12

    def overlap(grid):
        across, down = (224 * count for count in grid)
        common = min(across, width) * min(down, height)
        return common / (across * down + width * height - common)

    def total(grid):
        columns = width / height * grid[1]
        return overlap(grid) + min(columns / grid[0], grid[0] / columns)

    grids = sorted((grid for grid in candidate_grids(36) if max(grid) <= 12), key=overlap, reverse=True)
    chosen = (plan.columns, plan.rows)
    assert overlap(chosen) >= overlap(grids[8]) - 1e-9
    assert total(chosen) >= max(map(total, grids[:8])) - 1e-9


@pytest.mark.parametrize(
    ("picture", "grid", "size"),
    [
        ((560, 560), (2, 2), (1120, 1120)),  # one and a half times its own pixels need a second tile
        ((4000, 4000), (3, 3), (1680, 1680)),
        ((4000, 1000), (4, 1), (2240, 560)),
        ((1000, 4000), (1, 4), (560, 2240)),
        ((4000, 2100), (4, 3), (2240, 1176)),
        ((300, 200), (1, 1), (560, 373)),
    ],
)
def test_geopixel_s_choice_within_nine_tiles(picture, grid, size):
    budget = 12 if grid == (4, 3) else 9
    plan = plan_by_width(*picture, tile=560, budget=budget)
    assert (plan.columns, plan.rows, plan.size) == (*grid, size)
    assert plan.count == grid[0] * grid[1] + 1 and plan.corner == (0, 0)


@given(pixels, pixels, st.integers(1, 12))
def test_geopixel_s_plan_keeps_to_its_budget_and_lies_the_same_way_on_its_side(width, height, budget):
    plan = plan_by_width(width, height, tile=560, budget=budget)
    assert plan.columns * plan.rows <= budget
    (across, down), (canvas_across, canvas_down) = plan.size, plan.canvas
    assert canvas_across - 560 < across <= canvas_across and canvas_down - 560 < down <= canvas_down
    turned = plan_by_width(height, width, tile=560, budget=budget)
    assert (turned.columns, turned.rows) == (plan.rows, plan.columns)


sizes = st.lists(st.tuples(pixels, pixels), max_size=60)


@given(sizes, st.integers(1, 80))
def test_pictures_together_keep_to_their_budget_and_get_what_they_ask_for_where_it_fits(pictures, budget):
    plans = plan_together(pictures, tile=364, budget=budget)
    assert sum(plan.count for plan in plans) <= max(budget, len(pictures))
    asked = [round(width / 364) * round(height / 364) for width, height in pictures]
    asked = [count if count > 1 else 0 for count in asked]
    shares = share_tiles(pictures, tile=364, budget=budget)
    assert all(share <= ask for share, ask in zip(shares, asked, strict=True))
    if sum(asked) + len(pictures) <= budget:
        assert shares == asked
    for plan, share in zip(plans, shares, strict=True):
        assert plan.columns * plan.rows <= max(share, 1)
        assert plan.size[0] <= plan.canvas[0] and plan.size[1] <= plan.canvas[1]


def test_leopard_s_shares():
    assert share_tiles([(364, 364)], tile=364, budget=50) == [0]  # its thumbnail does
    assert share_tiles([(1092, 1456), (364, 364)], tile=364, budget=50) == [12, 0]
    assert share_tiles([(3640, 3640), (1820, 1820)], tile=364, budget=50) == [38, 9]  # 100 and 25 of 48
    assert share_tiles([(3640, 3640)] * 50, tile=364, budget=50) == [0] * 50
    (plan,) = plan_together([(300, 200)], tile=364)
    assert (plan.count, plan.size) == (1, (364, 364))
    page, small = plan_together([(1092, 1456), (300, 200)], tile=364)
    assert (page.columns, page.rows, page.thumbnail, small.count) == (3, 4, True, 1)


def test_pictures_twice_as_large_share_a_tight_budget_alike():
    pictures = [(2000, 1500), (900, 1400), (1100, 700)]
    doubled = [(2 * width, 2 * height) for width, height in pictures]
    once, twice = (share_tiles(each, tile=364, budget=23) for each in (pictures, doubled))
    assert all(abs(one - other) <= 2 for one, other in zip(once, twice, strict=True))


def test_a_picture_lies_in_the_middle_of_its_canvas():
    plan = plan_padded(1000, 300, tile=336)
    assert plan.corner == ((plan.canvas[0] - plan.size[0]) // 2, (plan.canvas[1] - plan.size[1]) // 2) == (0, 16)


def test_pictures_without_pixels_and_budgets_without_grids_are_refused():
    with pytest.raises(ValueError, match="0 by 5"):
        plan_stretched(0, 5, tile=448, budget=4)
    with pytest.raises(ValueError, match="between 1 and 0"):
        plan_stretched(5, 5, tile=448, budget=0)
    with pytest.raises(ValueError, match="no grids"):
        plan_padded(5, 5, tile=336, grids=())
    with pytest.raises(ValueError, match="between 1 and 0"):
        plan_by_width(5, 5, tile=560, budget=0)
    with pytest.raises(ValueError, match="0 by 5"):
        share_tiles([(0, 5)], tile=364, budget=50)
