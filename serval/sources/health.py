"""Is a live source still showing the world? A frozen picture, sound without picture, or silence is told within seconds.

Of live sources only: in a file, also one that is watched at its own pace, a picture that stands still was recorded so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serval.sources.source import NoteKind, SourceNote

_BLIND = 60.0  # seconds without a picture after which it is worth connecting anew
_SAME = 0.25  # mean difference in grey levels below which two pictures are one: a sensor's noise is above it


class Health:
    """What is wrong with one source, told once when it begins and once when it is over.

    Args:
        patience: seconds that something must last.
    """

    def __init__(self, source: str, *, start: float = 0.0, patience: float = 10.0) -> None:
        self._source, self._patience = source, patience
        self._moved = self._pictured = start
        self._heard = -np.inf
        self._luma: NDArray[np.uint8] | None = None
        self._frozen = False
        self._trouble: NoteKind | None = None

    def picture(self, luma: NDArray[np.uint8], time: float) -> list[SourceNote]:
        """A picture came; ``luma [36, 64]``."""
        notes = []
        if self._trouble is not None:
            over = NoteKind.VIDEO_BACK if self._trouble is NoteKind.AUDIO_ONLY else NoteKind.BACK
            notes.append(self._note(over, time, "pictures come again"))
            self._trouble, self._moved = None, time
        self._pictured = time
        still = self._luma is not None and float(np.abs(luma.astype(np.int16) - self._luma).mean()) < _SAME
        if not still:
            if self._frozen:
                notes.append(self._note(NoteKind.THAWED, time, "its picture moves again"))
            self._luma, self._moved, self._frozen = luma, time, False
        elif not self._frozen and time - self._moved >= self._patience:
            self._frozen = True
            notes.append(
                self._note(NoteKind.FROZEN, time, f"the same picture for {time - self._moved:.0f} s: it may be frozen")
            )
        return notes

    def connected(self, time: float, *, blind: bool = False) -> None:
        """Connected anew: whatever was missing before is over, and what comes is compared with the picture before the loss.

        Args:
            blind: it was given up only because no picture came: what is missing has been told, and is missing still.
        """
        self._trouble = self._trouble if blind else None
        self._pictured, self._heard = time, -np.inf

    def is_blind(self, time: float) -> bool:
        """Whether pictures have been missing for so long that another connection should be tried."""
        return self._trouble is not None and time - self._pictured >= _BLIND

    def sound(self, time: float) -> None:
        """Sound came."""
        self._heard = time

    def tick(self, time: float) -> list[SourceNote]:
        """Time passes, whether or not anything comes."""
        if self._trouble is NoteKind.STALLED or time - self._pictured < self._patience:
            return []
        long = f"{time - self._pictured:.0f} s"
        if time - self._heard >= self._patience:
            self._trouble = NoteKind.STALLED
            return [self._note(self._trouble, time, f"connected, and no picture for {long}")]
        if self._trouble is NoteKind.AUDIO_ONLY:
            return []
        self._trouble = NoteKind.AUDIO_ONLY
        return [self._note(self._trouble, time, f"sound and no picture for {long}")]

    def _note(self, kind: NoteKind, time: float, text: str) -> SourceNote:
        return SourceNote(kind, self._source, time, f"{self._source}: {text}", {})
