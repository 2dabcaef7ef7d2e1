"""One source as it is understood so far: decides when to look and with what, and turns looks into views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from serval.assistant.perception.objects import Objects
from serval.assistant.perception.pixel_gate import Luma, PixelGate, difference
from serval.assistant.perception.scenes import Scenes
from serval.assistant.perception.texts import Texts
from serval.assistant.view import Change, View
from serval.encoders.percept import Looks, Percept

CHANGED = 0.024  # pixel-gate change worth a look: six grey levels
CALM = 0.5  # seconds between looks while something changes ...
AWAKE = 0.25  # ... and while something is unresolved
STILL = 3.0  # a look every so often even when no pixel changes
READ = 0.25  # seconds between readings of text while the picture changes: a sign that passes is legible for half a second
CUT = 24.0  # mean change in grey levels, at once, that makes a cut
_EARLY = 0.02  # a frame this much before its turn is in time


class Perception:
    """State of one source. Deterministic: the same percepts in the same order give the same views.

    Args:
        looks: what the small encoders are asked for at a look; the union of what the instructions need.
    """

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._pixels, self._read_pixels = PixelGate(), PixelGate()
        self._objects, self._scenes, self._texts = Objects(), Scenes(), Texts()
        self._looked = self._read = -np.inf
        self._cut = False
        self._last_luma: Luma | None = None

    @property
    def unresolved(self) -> bool:
        return self._scenes.unresolved or self._objects.unresolved(self._looked)

    def ask(self, looks: Looks) -> None:
        """From now on the encoders are asked for these looks."""
        self._looks = looks

    def plan(self, luma: Luma, time: float) -> tuple[float, Looks]:
        """How much changed since the last look (0 to 1), and what to look at this frame with; nothing, mostly.

        A pure question: only `update` changes what is remembered.
        """
        change, since = self._pixels.change(luma), time - self._looked + _EARLY
        due = (
            since >= STILL
            or (change >= CHANGED and since >= CALM)
            or (self.unresolved and since >= AWAKE)
            or (self._is_cut(luma) and since >= 0.1)
        )
        wanted = self._looks
        if not due or not wanted:
            return change, Looks()
        reading = time - self._read + _EARLY >= READ and self._read_pixels.change(luma) >= CHANGED
        return change, wanted if reading or not wanted.text else replace(wanted, text=False)

    def update(self, percept: Percept) -> View:
        """Take a frame's percept, looked at or not, in the order of time."""
        now, luma = percept.time, percept.luma
        change = self._pixels.change(luma)
        if self._is_cut(luma):
            self._objects.cut(now)
            self._cut = True
        self._last_luma = luma
        self._objects.remember(luma, now)
        changes: list[Change] = []
        if percept.feature is not None:
            scene = self._scenes.step(percept.feature.astype(np.float32), luma, now, self._cut)
            self._cut = False
            changes += [scene] if scene is not None else []
        if percept.detections is not None:
            changes += self._objects.step(percept.detections, percept.hands, luma, now)
        if percept.text is not None:
            changes += self._texts.step(percept.text, now)
            self._read = now
            self._read_pixels.examined(luma)
        if percept.feature is not None or percept.detections is not None or percept.text is not None:
            self._looked = now
            self._pixels.examined(luma)
        elif change < CHANGED:
            self._objects.unchanged(now)
        return View(
            percept=percept,
            change=change,
            tracks=self._objects.tracks(now),
            changes=tuple(changes),
            unresolved=self.unresolved,
            scene=self._scenes.scene,
        )

    def _is_cut(self, luma: Luma) -> bool:
        return self._last_luma is not None and float(difference(luma, self._last_luma).mean()) > CUT
