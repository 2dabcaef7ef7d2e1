from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.connectors.tile_planner import candidate_grids, plan_padded, plan_stretched

pixels = st.integers(1, 5000)
quick = settings(deadline=None)


@quick
@given(st.integers(1, 40))
def test_candidates_are_all_grids_within_the_budget_once(budget):
    grids = candidate_grids(budget)
    assert len(set(grids)) == len(grids) == sum(budget // columns for columns in range(1, budget + 1))
    assert all(columns * rows <= budget for columns, rows in grids)


@quick
@given(pixels, pixels, st.integers(1, 12))
def test_a_stretched_plan_keeps_to_its_budget_and_no_grid_is_nearer(width, height, budget):
    plan = plan_stretched(width, height, tile=448, budget=budget)
    assert plan.columns * plan.rows <= budget
    assert plan.count == plan.columns * plan.rows + (plan.columns * plan.rows > 1)
    distance = abs(width / height - plan.columns / plan.rows)
    assert all(distance <= abs(width / height - columns / rows) for columns, rows in candidate_grids(budget))


@quick
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


@quick
@given(pixels, pixels)
def test_a_padded_plan_fits_its_canvas_touches_two_sides_and_keeps_the_aspect_ratio(width, height):
    plan = plan_padded(width, height, tile=336)
    (across, down), (canvas_across, canvas_down) = plan.size, plan.canvas
    assert across <= canvas_across and down <= canvas_down
    assert across == canvas_across or down == canvas_down
    scale = min(canvas_across / width, canvas_down / height)
    assert abs(across - max(1, width * scale)) < 1.01 and abs(down - max(1, height * scale)) < 1.01
    assert plan.count == plan.columns * plan.rows + 1


@quick
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


def test_pictures_without_pixels_and_budgets_without_grids_are_refused():
    with pytest.raises(ValueError, match="0 by 5"):
        plan_stretched(0, 5, tile=448, budget=4)
    with pytest.raises(ValueError, match="between 1 and 0"):
        plan_stretched(5, 5, tile=448, budget=0)
    with pytest.raises(ValueError, match="no grids"):
        plan_padded(5, 5, tile=336, grids=())
