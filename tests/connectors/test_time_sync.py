from itertools import pairwise
from math import inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.connectors.time_sync import Timed, TimeSync, interleaved, padded, resampled, synchronise

quick = settings(max_examples=60)
moments = st.floats(0, 20) | st.integers(0, 200).map(lambda tenths: tenths * 0.1) | st.integers(0, 20).map(float)
lists = st.lists(moments, max_size=25)
periods = st.sampled_from([0.1, 0.3, 0.5, 1.0, 7.0]) | st.floats(0.05, 30)
clocks = st.one_of(periods.map(lambda period: {"period": period}), st.just({"leader": "video"}))


def tokens(times, first=0.0):
    """Each token's only feature is its number."""
    return Timed(torch.arange(len(times))[:, None] + first, torch.tensor(times, dtype=torch.float64))


def two(video, audio):
    return {"video": tokens(video), "audio": tokens(audio, first=1000)}


def told(windows):
    return [
        (start, end, {name: (part.features[:, 0].tolist(), part.times.tolist()) for name, part in streams.items()})
        for start, end, streams in windows
    ]


@quick
@given(lists, lists, clocks)
def test_every_token_is_in_one_window_and_between_its_edges(video, audio, clock):
    streams = two(video, audio)
    windows = synchronise(streams, **clock)
    for name, given_tokens in streams.items():
        found = torch.cat([window.tokens[name].features[:, 0] for window in windows]) if windows else torch.zeros(0)
        order = given_tokens.times.argsort(stable=True)
        assert found.tolist() == given_tokens.features[order, 0].tolist()
    for start, end, parts in windows:
        assert start < end
        for part in parts.values():
            assert all(start <= time < end for time in part.times.tolist())
    assert all(one.end == other.start for one, other in pairwise(windows))


@quick
@given(lists, lists, clocks, st.data())
def test_windows_are_the_same_however_the_streams_come_in_pieces(video, audio, clock, data):
    streams = two(sorted(video), sorted(audio))
    sync = TimeSync({"video": 1, "audio": 1}, **clock)
    came, now = [], 0.0
    for step in [*data.draw(st.lists(st.floats(0, 5), max_size=8)), inf]:
        before, now = now, now + step
        for name in data.draw(st.permutations(list(streams))):
            part = streams[name]
            new = (part.times >= before) & (part.times < now)
            cut = data.draw(st.integers(0, int(new.sum())))
            for piece in (slice(None, cut), slice(cut, None)):
                sync.add(name, part.features[new][piece], part.times[new][piece])
        if now < inf:
            complete = sync.advance(now)
            assert all(window.end <= now for window in complete)  # a window is made of what was before its end
            came += complete
    came += sync.finish()
    whole = told(synchronise(streams, **clock))
    got = told(came)
    assert got[: len(whole)] == whole
    for start, end, parts in got[len(whole) :]:  # time that went on after the last token
        assert end > start and not any(times for _, times in parts.values())


def test_edges_are_those_that_windows_have_not_rounded_quotients():
    """0.3 / 0.1 is less than 3, and 3 · 0.1 more than 0.3: the third window begins just after 0.3."""
    windows = synchronise({"video": tokens([0.3, 3 * 0.1, 0.7, 7 * 0.1])}, period=0.1)
    assert [window.start for window in windows] == [number * 0.1 for number in range(len(windows))]
    assert [len(window.tokens["video"].times) for window in windows] == [0, 0, 1, 1, 0, 0, 1, 1][: len(windows)]


def test_windows_of_half_a_second_are_those_of_favor():
    """Two frames a second of 32 tokens each and fifty sound tokens a second; the sound is longer."""
    video = Timed(torch.randn(6 * 32, 3), torch.arange(6, dtype=torch.float64).mul(0.5).repeat_interleave(32))
    audio = Timed(torch.randn(200, 2), torch.arange(200, dtype=torch.float64) / 50)
    windows = synchronise({"video": video, "audio": audio}, period=0.5)
    assert [(window.start, window.end) for window in windows] == [(i / 2, i / 2 + 0.5) for i in range(8)]
    (seen, there), (heard, sounding) = padded(windows, "video", 32), padded(windows, "audio", 32)
    assert torch.cat([seen, heard], dim=-1).shape == (8, 32, 5)
    assert torch.equal(seen[:6].flatten(0, 1), video.features) and not seen[6:].any()
    assert torch.equal(heard[:, :25].flatten(0, 1), audio.features) and not heard[:, 25:].any()
    assert there.sum(1).tolist() == [32] * 6 + [0] * 2 and sounding.sum(1).tolist() == [25] * 8


def test_frames_that_lead_take_the_sound_until_the_next():
    windows = synchronise(two([1.0, 1.0, 2.5, 4.0], [0.2, 1.0, 2.4999, 2.5, 9.0]), leader="video")
    assert [(window.start, window.end) for window in windows] == [(0.2, 1.0), (1.0, 2.5), (2.5, 4.0), (4.0, inf)]
    assert [window.tokens["video"].times.tolist() for window in windows] == [[], [1.0, 1.0], [2.5], [4.0]]
    assert [window.tokens["audio"].times.tolist() for window in windows] == [[0.2], [1.0, 2.4999], [2.5], [9.0]]


def test_a_stream_that_starts_late_or_never_is_padding():
    windows = synchronise({"video": tokens([0.0, 1.0, 2.0]), "audio": tokens([2.5]), "touch": tokens([])}, period=1.0)
    filled, there = padded(windows, "audio", 2)
    assert filled.shape == (3, 2, 1) and there.tolist() == [[False, False], [False, False], [True, False]]
    filled, there = padded(windows, "touch", 1)
    assert filled.shape == (3, 1, 1) and not there.any() and not filled.any()
    pooled, there = resampled(windows, "touch")
    assert not pooled.any() and not there.any()


def test_tokens_are_averaged_to_slots():
    windows = synchronise({"audio": tokens([0.0, 0.1, 0.2, 0.3, 1.0])}, period=1.0)
    pooled, there = resampled(windows, "audio")
    assert pooled[:, 0, 0].tolist() == [1.5, 4.0] and there.all()
    halves, _ = resampled(windows, "audio", slots=2)
    assert halves[..., 0].tolist() == [[0.5, 2.5], [4.0, 4.0]]
    assert torch.equal(resampled(windows[:1], "audio", slots=4)[0][0], windows[0].tokens["audio"].features)


@quick
@given(lists, lists, clocks)
def test_interleaving_window_by_window_is_interleaving_the_whole_in_time_order(video, audio, clock):
    streams = two(video, audio)
    whole = interleaved(streams)
    assert whole.times.tolist() == sorted(video + audio)
    parts = [interleaved(window.tokens) for window in synchronise(streams, **clock)]
    if parts:
        for name, tensor in whole._asdict().items():
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), tensor)


def test_at_the_same_time_streams_stand_in_the_order_given():
    streams = two([1.0, 1.0], [0.5, 1.0])
    assert interleaved(streams).streams.tolist() == [1, 0, 0, 1]
    assert interleaved({"audio": streams["audio"], "video": streams["video"]}).streams.tolist() == [0, 0, 1, 1]


def test_gradients_reach_the_tokens():
    features = torch.randn(5, 2, requires_grad=True)
    windows = synchronise({"audio": Timed(features, torch.tensor([0.0, 2.1, 0.3, 1.0, 1.5]).double())}, period=1.0)
    padded(windows, "audio", 2)[0].square().sum().backward()
    torch.testing.assert_close(features.grad, 2 * features.detach())


def test_what_comes_too_late_or_does_not_fit_is_refused():
    sync = TimeSync({"video": 1, "audio": 1}, period=1.0)
    sync.add("video", *tokens([0.5, 1.5]))
    assert [window.end for window in sync.advance(1.2)] == [1.0]
    with pytest.raises(ValueError, match=r"audio: a token of 1.1 s comes after all up to 1.2 s"):
        sync.add("audio", *tokens([1.1]))
    sync.add("audio", *tokens([1.2]))
    with pytest.raises(ValueError, match=r"a token of -0\.1 s"):
        TimeSync({"video": 1}, period=1.0).add("video", *tokens([-0.1]))
    with pytest.raises(ValueError, match="width 1 at 2 times"):
        sync.add("audio", torch.zeros(2, 3), torch.ones(2).double())
    with pytest.raises(ValueError, match="at 1 times"):
        sync.add("audio", torch.zeros(1, 1), torch.tensor([inf]).double())
    sync.finish()
    with pytest.raises(ValueError, match="inf s was heard"):
        sync.add("audio", *tokens([99.0]))
    for options in ({}, {"period": 1.0, "leader": "video"}, {"period": 0.0}, {"period": inf}, {"leader": "touch"}):
        with pytest.raises(ValueError, match="positive period, or a leader"):
            TimeSync({"video": 1}, **options)
    with pytest.raises(ValueError, match="2 tokens, for 1 slots"):
        padded(synchronise({"video": tokens([0.1, 0.2])}, period=1.0), "video", 1)
    with pytest.raises(ValueError, match=r"widths \[1, 2\]"):
        interleaved({"video": tokens([0.1]), "audio": Timed(torch.zeros(1, 2), torch.zeros(1).double())})
