"""One untrusted picture in, by Pillow: allow-listed formats, size checked on the header, bombs refused, upright."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from serval.media.limits import MediaLimits
from serval.media.local_file import open_regular, printable
from serval.refusal import Refusal

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_ONE_AT_A_TIME = threading.Lock()  # the filters of warnings are the whole process's


def read_image(path: Path, limits: MediaLimits | None = None, *, formats: Sequence[str] = FORMATS) -> NDArray[np.uint8]:
    """The picture's pixels ``[height, width, 3]`` uint8, turned upright as its EXIF says; the first one of several.

    What is transparent lies on white, whatever colours are hidden under it.

    Raises:
        Refusal: missing, no picture of a known format, beyond the limits, or damaged.
    """
    limits, what = limits or MediaLimits(), printable(path.name)
    with open_regular(path, limits, limits.image_bytes) as file, _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on metadata, in Pillow's words
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=list(formats)) as picture:
                limits.check_size(what, *picture.size)
                upright = ImageOps.exif_transpose(picture)
                return np.ascontiguousarray(_opaque(upright))
        except UnidentifiedImageError:
            raise Refusal(what, "it is no picture of a known kind", f"known are {', '.join(formats)}") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise Refusal(what, "its picture is too large", "scale it down") from None
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError):  # what Pillow raises for damaged files
            raise Refusal(what, "its data is damaged or cut off", "copy it again") from None


def _opaque(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):  # Pillow would clip it at 255
        grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))
