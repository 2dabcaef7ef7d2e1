"""A text ends before a stop text, however it comes in pieces."""

from hypothesis import example, given
from hypothesis import strategies as st

from serval.language.generation.stop_text import ReplyText, StopText


def test_of_two_stop_texts_the_one_that_is_complete_first_ends_it():
    for pieces in (["baa"], ["ba", "a"], ["b", "a", "a"]):
        until = StopText(["a", "baa"])
        assert "".join(map(until.add, pieces)) + until.end() == "b" and until.stopped


@given(
    text=st.text(alphabet="abc", max_size=20), stops=st.lists(st.text(alphabet="abc", max_size=4), max_size=3), cuts=st.data()
)
def test_stop_texts_end_the_text_wherever_its_pieces_are_cut(text, stops, cuts):
    until, given_on, rest = StopText(stops), "", text
    while rest:
        size = cuts.draw(st.integers(1, len(rest)))
        given_on += until.add(rest[:size])
        rest = rest[size:]
        assert not any(stop in given_on for stop in stops if stop)
    given_on += until.end()
    found = [(end, start) for end in range(len(text) + 1) for start in range(end) if text[start:end] in stops]
    assert given_on == (text[: min(found)[1]] if found else text)
    assert until.stopped == bool(found)


@given(text=st.text(max_size=12), stop=st.text(min_size=1, max_size=3))
@example(text="añ€🐈 né", stop="€🐈")
def test_tokens_of_single_bytes_say_the_same(text, stop, words):
    """Every token of this tokenizer is a byte, so that stop texts and characters span tokens."""
    text = words.decode(words.encode(text))  # without what no tokenizer can spell
    reply = ReplyText(words, [stop])
    said = "".join(map(reply.add, words.encode(text)))
    assert said + reply.end() == (text[: text.find(stop)] if stop in text else text)
    assert "\ufffd" not in said or "\ufffd" in text
