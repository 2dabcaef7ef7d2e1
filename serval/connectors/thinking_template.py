"""What a model reads before it answers about a frame worth it: the frame once more, its quarters, and what hands hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from serval.connectors.grid_reducer import Grid
from serval.connectors.region_pool import box_pool, quadrant_pool
from serval.connectors.stream_layout import Encode, Segments, StreamLayout
from serval.conversation.segments import MediaSegment, TextSegment
from serval.conversation.sequence import Modality
from serval.media.box import Box


def thinking_segments(
    layout: StreamLayout,
    encode: Encode,
    frame: Tensor,
    features: Tensor,
    boxes: Sequence[Box],
    project: Callable[[Tensor], Tensor],
    *,
    source: int,
    time: float | None = None,
    question: str | Sequence[int] | None = None,
    cells: Grid = (3, 3),
    closes: bool = True,
) -> Segments:
    r"""LION-FS's thinking template (Li et al. 2025, arXiv:2503.03663), which stands in place of a plain ``Assistant:``.

    It closes the stream, shows ``Stream: [frame,quarter,quarter,quarter,quarter]``, then ``User: Please focus on`` with a token
    for each box and a full stop, and begins the assistant's words. Quarters look as frames do in training, which is worth more
    than their 36 tokens in one piece. Without boxes there is no user's turn, as there is nothing to focus on. A person's
    ``question`` takes the place of the request, boxes behind it; of this the paper says nothing.

    Args:
        frame: (tokens, width of the language model), as it was read in the stream.
        features: (rows, columns, width of the tower), the frame's map.
        boxes: of hands and what they hold, as fractions of the frame.
        project: from the tower's width to the language model's.
        source: a number that no medium before it has; quarters and boxes go on from there.
        time: of the frame, in seconds.
        question: words, or their ids.
        closes: the stream's run of frames is open.

    Raises:
        ValueError: a map that does not divide into quarters.
    """
    frames = [frame, *project(quadrant_pool(features, cells))]
    segments: Segments = [TextSegment([*(layout.closing if closes else ()), *encode("Stream: ", "text")])]
    segments += layout.frames(frames, source=source, times=None if time is None else [time] * len(frames))
    segments.append(TextSegment(layout.closing))
    if boxes or question is not None:
        asked = "Please focus on " if question is None else question
        words = encode(asked, "text") if isinstance(asked, str) else asked
        segments.append(TextSegment([*layout.user, *words], time=time))
        regions = project(box_pool(features, boxes))
        for number, region in enumerate(regions[:, None], source + len(frames)):
            segments.append(MediaSegment(region, Modality.REGION, number, time))
        segments.append(TextSegment(encode(".\n" if question is None else "\n", "special" if boxes else "text")))
    segments.append(TextSegment(layout.assistant))
    return segments
