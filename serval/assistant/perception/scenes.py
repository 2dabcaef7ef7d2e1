"""Which scene this is, and when another one has begun."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from serval.assistant.perception.pixel_gate import Luma, difference
from serval.assistant.view import Change, ChangeKind, Scene

NEW = 0.42  # cosine distance of pooled features beyond which the content is another one
SAME = 0.3  # ... and within which two looks show the same
ALIKE = 0.6  # correlation of small grey pictures above which the place is the same, whatever the features say
SHARE = 0.45  # of the picture that must look different; what fills less is a thing in the scene
SETTLE = 0.3  # seconds a new scene must stand
REFRACTORY = 1.0


class Scenes:
    """Compares each look with what the scene has looked like, by content (features) and by layout (grey picture).

    Both must differ: a person filling the picture changes the features, a shaking camera or a lamp the layout, another scene
    changes both.
    """

    def __init__(self) -> None:
        self._anchor: NDArray[np.float32] | None = None
        self._looks = 0
        self._layouts: deque[Luma] = deque(maxlen=3)
        self._candidate: tuple[float, NDArray[np.float32]] | None = None
        self.scene = Scene(0, 0.0)

    @property
    def unresolved(self) -> bool:
        return self._candidate is not None

    def step(self, feature: NDArray[np.float32], luma: Luma, now: float, cut: bool = False) -> Change | None:
        """One look; the change when it made another scene certain. ``cut``: the whole picture changed at once before it."""
        unit = feature / max(float(np.linalg.norm(feature)), 1e-6)
        if self._anchor is None:
            self._begin(unit, luma, now)
            return Change(ChangeKind.SCENE, now, now, score=1.0)
        distance = 1.0 - float(unit @ self._anchor)
        same_place = any(
            correlation(luma, each) > ALIKE or float((difference(luma, each) > 12.0).mean()) < SHARE for each in self._layouts
        )
        novelty = round(float(np.clip(distance / (2 * NEW), 0.0, 1.0)), 4)
        self.scene = Scene(self.scene.id, self.scene.started, self.scene.feature, novelty)
        if distance < NEW or same_place:
            self._candidate = None
            self._grow(unit, luma, distance)
            return None
        if self._candidate is None or 1.0 - float(unit @ self._candidate[1]) > SAME:
            self._candidate = (now, unit)
            if not cut:
                return None
        began = self._candidate[0]
        if (not cut and now - began < SETTLE - 1e-6) or now - self.scene.started < REFRACTORY - 1e-6:
            return None
        self._begin(unit, luma, began)
        return Change(ChangeKind.SCENE, now, began, score=novelty)

    def _begin(self, unit: NDArray[np.float32], luma: Luma, now: float) -> None:
        self._anchor, self._looks, self._candidate = unit, 1, None
        self._layouts.clear()
        self._layouts.append(luma)
        self.scene = Scene(self.scene.id + 1, now, unit, 0.0)

    def _grow(self, unit: NDArray[np.float32], luma: Luma, distance: float) -> None:
        """Let the scene's picture of itself follow what it shows, slowly."""
        assert self._anchor is not None
        self._looks += 1
        mixed = self._anchor + (unit - self._anchor) / min(self._looks, 20)
        self._anchor = (mixed / max(float(np.linalg.norm(mixed)), 1e-6)).astype(np.float32)
        if distance < SAME and correlation(luma, self._layouts[-1]) < 0.9:
            self._layouts.append(luma)


def correlation(a: Luma, b: Luma) -> float:
    """Pearson correlation of two small grey pictures, -1 to 1; brightness and contrast play no part."""
    x, y = a.astype(np.float32).ravel(), b.astype(np.float32).ravel()
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale > 0 else 1.0
