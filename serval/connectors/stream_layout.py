"""How frames stand in a streaming dialogue: what opens a run of them, parts two of them, and closes it when somebody speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from serval.conversation.segments import MediaSegment, TextSegment
from serval.conversation.sequence import Modality
from serval.conversation.tokenizer import Before

Encode = Callable[[str, Before], list[int]]
"""`Tokenizer.encode`."""
Segments = list[TextSegment | MediaSegment]


@dataclass(frozen=True)
class StreamLayout:
    r"""VideoLLM-online's layout (Chen et al. 2024, arXiv:2406.11816), in token ids: ``\n[frame,frame,…]\nUser: …\nAssistant:``.

    Attributes:
        opening: before the first frame of a run.
        separator: between two frames. The model says it to stay silent, and it is read before the next frame. Empty where
            frames follow each other at once; silence then is a token that is never read.
        closing: behind the last frame before words. Its first token is what a model says to speak.
        user, assistant: how their words begin.
        end: of what the assistant says.
    """

    opening: tuple[int, ...]
    separator: tuple[int, ...]
    closing: tuple[int, ...]
    user: tuple[int, ...]
    assistant: tuple[int, ...]
    end: int | None = None

    @property
    def silence(self) -> int:
        """The id of the token of silence: the separator's last, or where frames have none that of the end."""
        if not self.separator and self.end is None:
            raise ValueError("A layout without separator needs an end to stay silent with.")
        return self.separator[-1] if self.separator else int(self.end or 0)

    @property
    def sentinels(self) -> tuple[int, int]:
        """Ids that a frame is taught to be followed by: silence, and speaking."""
        return self.silence, self.closing[0]

    @classmethod
    def of(cls, encode: Encode, *, separated: bool = True, end: int | None = None) -> StreamLayout:
        """As a tokenizer spells it; ``end`` is its token for that."""
        return cls(
            opening=tuple(encode("\n[", "text")),
            separator=tuple(encode(",", "special")) if separated else (),
            closing=tuple(encode("]\n", "special")),
            user=tuple(encode("User: ", "text")),
            assistant=tuple(encode("Assistant:", "text")),
            end=end,
        )

    def frames(
        self, frames: Sequence[Tensor], *, source: int = 0, times: Sequence[float] | None = None, begins: bool = True
    ) -> Segments:
        """A run of frames, (tokens, width) each, numbered from ``source``: what opens it, or with ``begins=False`` a separator,
        then frames parted by separators. It is not closed."""
        made: Segments = []
        for number, frame in enumerate(frames):
            before = self.separator if number or not begins else self.opening
            if before:
                made.append(TextSegment(before))
            made.append(MediaSegment(frame, Modality.VIDEO, source + number, None if times is None else times[number]))
        return made
