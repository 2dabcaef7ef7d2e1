import pytest
import torch

from serval.connectors.grid_reducer import average_pool
from serval.connectors.projector import Projector
from serval.connectors.stream_layout import StreamLayout
from serval.connectors.thinking_template import thinking_segments
from serval.conversation.segments import MediaSegment
from serval.conversation.sequence import Modality
from serval.media.box import Box

from .test_stream_layout import letters, written

LAYOUT = StreamLayout.of(letters)
HAND, CUP = Box(0.0, 0.0, 0.25, 0.5), Box(0.5, 0.5, 1.0, 1.0)


def think(features, boxes=(), project=lambda tokens: tokens, **options):
    frame = project(torch.zeros(10, features.shape[-1]))
    return thinking_segments(LAYOUT, letters, frame, features, boxes, project, source=5, **options)


def media(segments, modality):
    return [each for each in segments if isinstance(each, MediaSegment) and each.modality == modality]


def test_it_shows_frame_and_quarters_asks_for_the_boxes_and_begins_the_answer():
    stream = "]\nStream: \n[<VIDEO 10>,<VIDEO 9>,<VIDEO 9>,<VIDEO 9>,<VIDEO 9>]\n"
    features = torch.randn(24, 24, 4)
    assert written(think(features, [HAND, CUP])) == f"{stream}User: Please focus on <REGION 1><REGION 1>.\nAssistant:"
    assert written(think(features)) == f"{stream}Assistant:"
    assert written(think(features, question="Where is it?")) == f"{stream}User: Where is it?\nAssistant:"
    assert written(think(features, [CUP], question="What? ")) == f"{stream}User: What? <REGION 1>\nAssistant:"


def test_quarters_are_a_permutation_of_the_six_by_six_pool():
    features = torch.randn(24, 24, 4)
    quarters = torch.cat([each.features for each in media(think(features), Modality.VIDEO)[1:]])
    fine = average_pool(features, (6, 6)).flatten(0, 1)
    same = (quarters[:, None] == fine[None]).all(-1)
    assert same.sum(0).eq(1).all() and same.sum(1).eq(1).all()
    assert not torch.equal(quarters, fine)


def test_a_box_of_the_whole_frame_is_the_mean_of_its_map():
    features = torch.randn(24, 24, 4)
    (whole,) = media(think(features, [Box(0.0, 0.0, 1.0, 1.0)]), Modality.REGION)
    torch.testing.assert_close(whole.features[0], features.mean((0, 1)))


def test_all_media_are_projected_numbered_apart_and_of_the_frame_s_time():
    segments = think(torch.randn(12, 12, 4), [HAND, CUP], Projector(4, 6), time=3.5)
    shown = media(segments, Modality.VIDEO) + media(segments, Modality.REGION)
    assert [each.source for each in shown] == list(range(5, 12))
    assert {each.features.shape[-1] for each in shown} == {6} and {each.time for each in shown} == {3.5}


def test_a_map_without_quarters_is_refused():
    with pytest.raises(ValueError, match="does not divide"):
        think(torch.randn(5, 4, 4))
