"""The colours that labels are told apart by, the same on the page and in the video."""

from __future__ import annotations

import hashlib

HUES = ("#ffb454", "#6ec6ff", "#9be28a", "#ff8fa3", "#c9a6ff", "#5fe0c8", "#ffe066", "#ff9e6b")


def hue(label: str) -> int:
    """Place in `HUES`: the same for the same label, always."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:2], "big") % len(HUES)


def colour(label: str) -> tuple[int, int, int]:
    """The label's hue as red, green and blue, 0 to 255."""
    red, green, blue = bytes.fromhex(HUES[hue(label)][1:])
    return red, green, blue
