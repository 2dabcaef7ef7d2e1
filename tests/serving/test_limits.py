"""Buckets and places: exact counts, and bounded whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from serval.serving.limits import Places, Rate


def test_a_bucket_fills_again():
    now = [0.0]
    rate = Rate(60, now=lambda: now[0])
    assert [rate.take("anna") for _ in range(61)] == [True] * 60 + [False]
    assert rate.take("bert"), "of others nothing is taken"
    now[0] = 1.0
    assert rate.take("anna") and not rate.take("anna")
    now[0] = 1000.0
    assert sum(rate.take("anna") for _ in range(100)) == 60


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=200))
def test_never_more_than_the_bucket_and_what_ran_in(asks):
    now, taken = [0.0], 0
    rate = Rate(10, now=lambda: now[0])
    for name, later in asks:
        now[0] += later
        taken += name == "a" and rate.take(name)
    assert taken <= 10 + now[0] * 10 / 60 + 1e-6


def test_names_are_forgotten():
    rate = Rate(10)
    for number in range(12_000):
        rate.take(str(number))
    assert len(rate._buckets) == 10_000


def test_places_are_given_back():
    places = Places(2, 3)
    with places.place("a") as one, places.place("a") as two, places.place("a") as three:
        assert (one, two, three) == (True, True, False) and places.full("a") and not places.full("b")
        with places.place("b") as four, places.place("c") as five:
            assert (four, five) == (True, False)
    assert places.taken == 0 and not places._taken
