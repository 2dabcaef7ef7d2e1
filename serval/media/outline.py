"""The shape of something in a picture."""

from __future__ import annotations

from typing import Final

Outline = tuple[tuple[float, float], ...]
"""A closed polygon: corners (x, y) as fractions of the picture's width and height (0 to 1), the last joined to the first."""

CORNERS: Final = 48  # an outline has at most so many
