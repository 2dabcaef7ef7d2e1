import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serval.connectors.running_mean import RunningMean, pool_over_both, pool_over_space, pool_over_time


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_however_the_stream_is_cut_the_mean_is_the_same_bit_for_bit(lengths):
    video = torch.randn(sum(lengths) + 1, 4, 3) * 1e3
    whole, pieces = RunningMean(), RunningMean()
    whole.add(video)
    for piece in video.split([*lengths, 1]):
        pieces.add(piece)
    assert pieces.count == len(video)
    assert torch.equal(whole.value, pieces.value)
    torch.testing.assert_close(whole.value, pool_over_time(video.double()).float())


def test_at_every_moment_it_is_the_mean_of_what_has_been_seen():
    video, mean = torch.randn(9, 2, 3), RunningMean()
    for seen, frame in enumerate(video, start=1):
        mean.add(frame[None])
        torch.testing.assert_close(mean.value, video[:seen].mean(0))


def test_a_still_picture_stays_itself():
    frame, mean = torch.randn(5, 3), RunningMean()
    for _ in range(1000):
        mean.add(frame[None])
    assert torch.equal(mean.value, frame)


def test_long_streams_keep_small_changes():
    mean = RunningMean()
    mean.add(torch.full((1, 1), 2.0**24))  # where single precision stops counting by ones
    mean.add(torch.ones(1022, 1))
    mean.add(torch.zeros(1, 1))
    assert mean.value.item() == 2**14 + 1022 / 1024


def test_the_mean_is_as_precise_as_the_frames():
    mean = RunningMean()
    mean.add(torch.ones(2, 3, dtype=torch.bfloat16))
    assert mean.value.dtype == torch.bfloat16


def test_no_frames_have_no_mean_and_frames_have_one_shape():
    mean = RunningMean()
    with pytest.raises(ValueError, match="no frames"):
        _ = mean.value
    mean.add(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        mean.add(torch.zeros(1, 3, 2))


def test_both_levels_stand_one_after_the_other():
    video = torch.randn(2, 6, 4, 3)
    both = pool_over_both(video)
    assert both.shape == (2, 10, 3)
    assert torch.equal(both[:, :4], pool_over_time(video))
    assert torch.equal(both[:, 4:], pool_over_space(video))
    torch.testing.assert_close(both[:, :4].mean(1), both[:, 4:].mean(1))
