"""What is known about one source at one moment: tracks, changes, scene. Gates read it; nothing else decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from serval.encoders.percept import Percept
from serval.media.box import Box


class ChangeKind(StrEnum):
    APPEARS = "appears"
    LEAVES = "leaves"
    MOVES = "moves"
    PUT = "put"  # set down by a hand
    TAKEN = "taken"  # picked up by a hand
    SCENE = "scene"  # another scene: cut, or the whole view differs
    TEXT = "text"  # text that was not there before
    CROWD = "crowd"  # so many objects come and go that only the sum is worth a word


@dataclass(frozen=True)
class Change:
    """Something that happened and is settled. ``time`` is when it became certain, ``started`` when it began."""

    kind: ChangeKind
    time: float
    started: float
    label: str = ""  # COCO group name such as "person", "car"; "" for scenes
    score: float = 0.0  # 0 to 1
    before: int = 0  # how many of ``label`` were in view before ...
    after: int = 0  # ... and after
    box: Box | None = None  # where it is now, or was last
    box_before: Box | None = None  # where it was first
    track: int | None = None
    side: str = ""  # side of the picture it came from or left by: "left", "right", "top", "bottom", "" when inside
    heading: str = ""  # for moves: "left", "right", "up", "down", "closer", "away"
    on: str = ""  # label of what it rests on or is in front of, "" when unknown
    hand: Box | None = None
    text: str = ""


@dataclass(frozen=True)
class Track:
    """One object followed over time, after its class has been combined over its detections."""

    id: int
    label: str
    score: float
    box: Box
    first_seen: float
    last_seen: float
    settled: bool  # has been announced (or was there from the start)
    speed: tuple[float, float] = (0.0, 0.0)  # picture widths / heights a second
    alternatives: tuple[tuple[str, float], ...] = ()  # other labels with their combined scores, best first


@dataclass(frozen=True)
class Scene:
    id: int
    started: float
    feature: NDArray[np.float32] | None = None  # [1280] of its first settled look
    novelty: float = 0.0  # how unlike the scene's anchor this frame is, 0 to 1


@dataclass(frozen=True)
class View:
    percept: Percept
    change: float  # pixel gate: how different from the last examined frame, 0 to 1
    tracks: tuple[Track, ...] = ()
    changes: tuple[Change, ...] = ()  # settled at this frame
    unresolved: bool = False  # a track, count or hand spell is not settled yet: do not sleep
    scene: Scene = Scene(0, 0.0)

    @property
    def time(self) -> float:
        return self.percept.time

    @property
    def source(self) -> str:
        return self.percept.source

    def counts(self) -> dict[str, int]:
        """Settled objects in view by label."""
        out: dict[str, int] = {}
        for track in self.tracks:
            if track.settled:
                out[track.label] = out.get(track.label, 0) + 1
        return out
