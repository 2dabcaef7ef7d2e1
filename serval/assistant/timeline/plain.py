"""Words and times made fit to show anywhere: what was read in a picture may hold anything at all."""

from __future__ import annotations

import re

from serval.refusal import Refusal

# Control characters (escape sequences, line ends, NUL), line separators, surrogates, and the invisible characters that turn
# or hide text. Joiners stay: scripts and emoji need them.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def one_line(text: str) -> str:
    """The text on one line, without control or direction characters, its spaces single."""
    return " ".join(_UNFIT.sub(" ", text).split())


def clock(seconds: float) -> str:
    """``75.25`` is ``1:15.2``; hours are shown once there are any."""
    tenths = max(0, int(seconds * 10 + 1e-6))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def seconds(text: str) -> float:
    """``12.5``, ``1:15.2`` or ``1:02:03`` as seconds.

    Raises:
        Refusal: it is no time.
    """
    if not re.fullmatch(r"(\d+:)?(\d+:)?\d+(\.\d*)?", text.strip()):
        raise Refusal(f"time {one_line(text)!r}", "it cannot be read", "write seconds (12.5) or a clock time (1:02:03.5)")
    total = 0.0
    for part in text.strip().split(":"):
        total = total * 60 + float(part)
    return total
