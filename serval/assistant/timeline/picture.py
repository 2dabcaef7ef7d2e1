"""A picture kept for later: JPEG with the name of the frame it was made from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from PIL import Image

from serval.media.frame import Frame

SIDE = 1280  # pixels; the longer side of a kept picture is no longer than this
QUALITY = 80  # of the JPEG

_made: WeakKeyDictionary[Frame, Picture] = WeakKeyDictionary()  # the recording and the memory keep the same pictures


@dataclass(frozen=True)
class Picture:
    """``sha256`` names the frame at full size; the JPEG may be smaller, and is never the frame to the last bit."""

    source: str
    index: int
    time: float
    sha256: str
    width: int  # of the JPEG, pixels
    height: int
    jpeg: bytes

    @classmethod
    def of(cls, frame: Frame) -> Picture:
        """Encode a frame, once as long as it lives."""
        if (known := _made.get(frame)) is not None:
            return known
        image = Image.fromarray(frame.rgb)
        image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        made = cls(frame.source, frame.index, frame.time, frame.sha256, image.width, image.height, file.getvalue())
        _made[frame] = made
        return made

    def open(self) -> Image.Image:
        """The picture in RGB.

        Raises:
            ValueError: the JPEG is damaged, or larger than it says.
        """
        try:
            with Image.open(io.BytesIO(self.jpeg), formats=("JPEG",)) as image:
                if image.size != (self.width, self.height) or max(image.size) > SIDE:
                    raise ValueError("the JPEG is not of the size it is said to be")
                return image.convert("RGB")
        except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError("the JPEG is damaged") from error
