import torch

from serval.connectors.stream_layout import StreamLayout
from serval.conversation.segments import MediaSegment, TextSegment, from_segments
from serval.conversation.sequence import IGNORED, Modality
from serval.training.objectives.streaming import Segment, frame_targets, streaming_labels


def letters(text, before):
    return list(text.encode())


def written(segments):
    """Frames and boxes as their numbers of tokens."""
    return "".join(
        bytes(each.ids).decode() if isinstance(each, TextSegment) else f"<{each.modality.name} {len(each.features)}>"
        for each in segments
    )


def test_frames_are_opened_and_parted():
    layout, frames = StreamLayout.of(letters), torch.randn(3, 10, 4)
    assert written(layout.frames(frames)) == "\n[<VIDEO 10>,<VIDEO 10>,<VIDEO 10>"
    assert written(layout.frames(frames[:2], begins=False)) == ",<VIDEO 10>,<VIDEO 10>"
    assert bytes([*layout.closing, *layout.user, *layout.assistant]).decode() == "]\nUser: Assistant:"


def test_a_frame_costs_eleven_tokens_with_a_separator_and_its_own_without():
    for layout, count, each in (
        (StreamLayout.of(letters), 10, 11),
        (StreamLayout.of(letters, separated=False), 1, 1),
    ):
        lengths = [
            from_segments(layout.frames(torch.randn(n, count, 4)), lambda ids: torch.zeros(len(ids), 4)).length for n in (1, 4)
        ]
        assert lengths[1] - lengths[0] == 3 * each


def test_frames_are_numbered_and_dated():
    segments = StreamLayout.of(letters).frames(torch.randn(2, 3, 4), source=7, times=[1.5, 2.0])
    media = [each for each in segments if isinstance(each, MediaSegment)]
    assert [(each.source, each.time, each.modality) for each in media] == [(7, 1.5, Modality.VIDEO), (8, 2.0, Modality.VIDEO)]


def test_frames_are_taught_at_their_last_token_and_nowhere_else():
    """VideoLLM-online's labels: the separator where another frame follows, what closes the stream where words do."""
    layout = StreamLayout.of(letters)
    runs = [Segment(3, "assistant"), Segment(4, "end", learn=2), Segment(1, "end", learn=False)]
    segments, first = [], 0
    for run in runs:
        segments += layout.frames(torch.randn(run.frames, 10, 4), source=first)
        segments.append(TextSegment([*layout.closing, *layout.assistant]))
        first += run.frames
    sequence = from_segments(segments, lambda ids: torch.zeros(len(ids), 4))
    sentinels = layout.separator[-1], layout.closing[0]
    labelled = streaming_labels(sequence, torch.tensor([frame_targets(runs)]), sentinels)
    (places,) = (labelled.labels[0] != IGNORED).nonzero(as_tuple=True)
    assert [bytes([int(each)]) for each in labelled.labels[0, places]] == [b",", b",", b"]", b",", b","]
    for place, frame in zip(places.tolist(), [0, 1, 2, 3, 4], strict=True):
        assert (sequence.source[0] == frame).nonzero().max() == place
