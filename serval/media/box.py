"""A rectangle in a picture."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """Left, top, right, bottom as fractions of the picture's width and height (0 to 1), whatever its size in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def center(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def width(self) -> float:
        return max(0.0, self.right - self.left)

    @property
    def height(self) -> float:
        return max(0.0, self.bottom - self.top)

    @property
    def area(self) -> float:
        return self.width * self.height

    def intersection(self, other: Box) -> float:
        """Area shared with ``other``."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def inside(self, other: Box) -> float:
        """Share of this box's area that lies in ``other``, 0 to 1."""
        return self.intersection(other) / self.area if self.area > 0 else 0.0

    def grow(self, factor: float) -> Box:
        """The box scaled about its centre by ``factor``, clipped to the picture."""
        (x, y), w, h = self.center, self.width * factor / 2, self.height * factor / 2
        return Box(max(0.0, x - w), max(0.0, y - h), min(1.0, x + w), min(1.0, y + h))

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left), min(self.top, other.top), max(self.right, other.right), max(self.bottom, other.bottom)
        )

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Whole-pixel (left, top, right, bottom) in a picture of ``width`` by ``height``, at least one pixel each way."""
        left, top = int(max(0.0, self.left) * width), int(max(0.0, self.top) * height)
        left, top = min(left, width - 1), min(top, height - 1)
        right, bottom = round(min(1.0, self.right) * width), round(min(1.0, self.bottom) * height)
        return left, top, max(left + 1, right), max(top + 1, bottom)
