"""One untrusted picture in, by Pillow: allow-listed formats, size checked on the header, bombs refused, upright."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from serval.media.limits import MediaLimits
from serval.media.local_file import open_regular, printable
from serval.refusal import Refusal

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def read_image(path: Path, limits: MediaLimits | None = None) -> NDArray[np.uint8]:
    """The picture's pixels ``[height, width, 3]`` uint8, turned upright as its EXIF says; the first one of several.

    Raises:
        Refusal: missing, no picture of a known format, beyond the limits, or damaged.
    """
    limits, what = limits or MediaLimits(), printable(path.name)
    with open_regular(path, limits, limits.image_bytes) as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as picture:
                limits.check_size(what, *picture.size)
                upright = ImageOps.exif_transpose(picture)
                return np.ascontiguousarray(np.asarray(upright.convert("RGB")))
        except UnidentifiedImageError:
            raise Refusal(what, "it is no picture of a known kind", f"known are {', '.join(FORMATS)}") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise Refusal(what, "its picture is too large", "scale it down") from None
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError):  # what Pillow raises for damaged files
            raise Refusal(what, "its data is damaged or cut off", "copy it again") from None
