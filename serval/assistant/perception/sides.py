"""Where in the picture something came from, went to, or is heading."""

from __future__ import annotations

from serval.media.box import Box

_EDGE = 0.03  # touching the edge of the picture
_NEAR = 0.12  # near enough to have crossed it since the last look, if it moves that way


def arrival_side(first: Box, velocity: tuple[float, float]) -> str:
    """The side of the picture by which something first seen at ``first`` came in; "" when it came from inside."""
    return _side(first, (-velocity[0], -velocity[1]))


def departure_side(last: Box, velocity: tuple[float, float]) -> str:
    """The side by which something last seen at ``last`` went out; "" when it vanished inside."""
    return _side(last, velocity)


def _side(box: Box, outward: tuple[float, float]) -> str:
    dx, dy = outward
    gaps = {"left": box.left, "right": 1 - box.right, "top": box.top, "bottom": 1 - box.bottom}
    pace = {"left": -dx, "right": dx, "top": -dy, "bottom": dy}
    best, most = "", 0.0
    for side, gap in gaps.items():
        # People and tables touch the lower edge wherever they stand, so up and down need a movement that says so.
        upright = side in ("top", "bottom")
        if upright and not (pace[side] > 0.05 and pace[side] > abs(dx)):
            continue
        touches, nears = gap <= _EDGE, gap <= _NEAR and pace[side] > 0.02
        weight = (1.0 if touches else 0.5 if nears else 0.0) + min(max(pace[side], -0.5), 0.5)
        if (touches or nears) and pace[side] > -0.05 and weight > most:
            best, most = side, weight
    return best


def heading(before: Box, after: Box) -> str:
    """The way something went between two places: "left", "right", "up", "down", or "closer" and "away" by its size."""
    (x0, y0), (x1, y1) = before.center, after.center
    if before.area > 0 and after.area > 0:
        growth = after.area / before.area
        if growth > 1.7:
            return "closer"
        if growth < 0.6:
            return "away"
    dx, dy = x1 - x0, y1 - y0
    if abs(dx) >= abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"
