from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serval.media.timestamps import Timestamps


def placed(stamps, **options):
    clock = Timestamps(**options)
    return [clock.place(stamp) for stamp in stamps]


def test_variable_rate_is_kept_as_stamped():
    assert [time for time, _ in placed([10.0, 10.04, 10.5, 17.0])] == [0.0, 0.03999999999999915, 0.5, 7.0]


def test_missing_stamps_follow_the_interval():
    assert placed([None, None, None], interval=0.5) == [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]
    assert [time for time, _ in placed([0.0, None, 0.2], interval=0.1)] == [0.0, 0.1, 0.2]


def test_first_stamp_after_missing_ones_continues_from_there():
    assert [time for time, _ in placed([None, 100.0, 100.5], interval=0.5)] == [0.0, 0.5, 1.0]


def test_jump_back_is_told_and_time_goes_on():
    times = placed([0.0, 5.0, 5.5, 1.0, 1.5])
    assert [time for time, _ in times] == [0.0, 5.0, 5.5, 6.0, 6.5]
    assert [jump for _, jump in times] == [0, 0, 0, -5.0, 0]


def test_leap_is_a_jump_only_where_a_limit_is_set():
    assert placed([0.0, 0.5, 60.5], leap=10.0)[-1] == (1.0, 59.5)
    assert placed([0.0, 0.5, 60.5])[-1] == (60.5, 0.0)


def test_repeated_stamps_heal():
    assert [time for time, _ in placed([0.0, 0.0, 0.04, 0.04, 0.08])] == [0.0, 0.001, 0.04, 0.041, 0.08]


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=40), st.sampled_from([10.0, float("inf")]))
def test_time_starts_at_zero_and_always_grows(stamps, leap):
    times = [time for time, _ in placed(stamps, leap=leap)]
    assert times[:1] in ([], [0.0])
    assert all(later > earlier for earlier, later in pairwise(times))
