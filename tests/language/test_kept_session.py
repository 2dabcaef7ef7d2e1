"""What was read is not read again, and nobody can tell from the numbers."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.chat import ChatML
from serval.conversation.messages import Message
from serval.conversation.tokenizer import Tokenizer
from serval.language.chat_model import ChatModel
from serval.language.generation.generate import generate
from serval.language.generation.session import DecoderSession
from serval.language.int4 import Int4Decoder, Int4Session
from serval.language.kept_session import KeptSession
from serval.language.load import load_decoder
from serval.weights import locate

SYSTEM = "Rewrite the sentence in plain, friendly English. Keep every number, name and place exactly as it is. Add nothing."


class Recorder:
    """A session that remembers in what pieces it was read; a fork has its ancestor's pieces, cut off."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.pieces, self.read_here = capacity, [], 0

    def read(self, ids):
        self.pieces.append(tuple(ids))
        self.read_here += len(ids)
        assert sum(map(len, self.pieces)) <= self.capacity

    def fork(self, length, capacity):
        other = Recorder(capacity)
        for piece in self.pieces:
            if length > 0:
                other.pieces.append(piece[:length])
                length -= len(piece)
        assert length <= 0
        return other


def cuts_of(prompt):
    """After every 0, but at the very end: the beginning of a prompt decides where that is cut."""
    return [place + 1 for place, token in enumerate(prompt[:-1]) if token == 0]


prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=6)


@given(prompts=prompts, most=st.integers(0, 12))
def test_whatever_came_before_a_prompt_is_read_in_its_own_pieces(prompts, most):
    kept = KeptSession(Recorder, most)
    for prompt in prompts:
        cuts = cuts_of(prompt)
        session = kept.session(prompt, cuts, len(prompt))
        assert session.pieces == [tuple(prompt[start:end]) for start, end in pairwise([0, *cuts])]
        assert session.capacity == len(prompt)
        assert len(kept._ids) <= most
        again = kept.session(prompt, cuts, len(prompt))
        assert again.read_here == (cuts[-1] if cuts else 0) - max(end for end in [0, *cuts] if end <= most)


@given(data=st.data())
@settings(max_examples=40)
def test_a_fork_goes_on_as_one_pass_would_and_leaves_the_original_alone(tiny, data):
    ids = data.draw(st.lists(st.integers(0, 96), min_size=3, max_size=40))
    read = data.draw(st.integers(1, len(ids) - 1))
    length = data.draw(st.integers(0, read))
    other = data.draw(st.lists(st.integers(0, 96), min_size=1, max_size=10))
    session, plain = (DecoderSession(tiny.decoder, len(ids)) for _ in range(2))
    session.read(ids[:read]), plain.read(ids[:read])
    fork = session.fork(length, length + len(other))
    once = DecoderSession(tiny.decoder, length + len(other)).read([*ids[:length], *other])
    torch.testing.assert_close(fork.read(other), once, atol=2e-4, rtol=1e-4)
    assert torch.equal(session.read(ids[read:]), plain.read(ids[read:]))


def test_a_fork_holds_what_was_read_and_no_more(tiny):
    session = DecoderSession(tiny.decoder, 300)
    session.read(list(range(60)) * 5)
    for length, capacity in ((301, 400), (20, 10), (-1, 10)):
        with pytest.raises(ValueError, match="fork"):
            session.fork(length, capacity)
    assert session.fork(300, 301).read([1]).shape == (97,)


@pytest.fixture(scope="module")
def int4() -> Int4Decoder:
    wide = load_decoder(locate("smollm2", "model.safetensors"), locate("smollm2", "config.json"), dtype=torch.bfloat16)
    return Int4Decoder(locate("smollm2", "model.gguf"), wide)


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return Tokenizer(locate("smollm2", "tokenizer.json")).encode(" ".join([SYSTEM] * 16))


@pytest.mark.parametrize("pieces", [(30, 10, 1, 40), (8, 1, 30), (270, 20, 1)])
def test_at_four_bits_a_fork_is_the_same_to_the_last_bit(int4, ids, pieces, monkeypatch):
    fresh, first, *rest = Int4Session(int4, 400), *pieces
    fresh.read(ids[:first])
    longer = fresh.fork(first, 400)
    longer.read(ids[100:130])  # what is cut off again must leave nothing behind
    fork, place = longer.fork(first, 390), first
    for piece in rest:
        expected = fresh.read(ids[place : place + piece])
        longer.read([7])
        assert torch.equal(fork.read(ids[place : place + piece]), expected)
        place += piece
    with pytest.raises(ValueError, match="fork"):
        fork.fork(place + 1, 400)


@pytest.mark.parametrize("new", [2, 12, 24, 25, 60])
@torch.inference_mode()
def test_more_tokens_at_once_say_what_one_by_one_says(int4, ids, new):
    at_once, slowly = Int4Session(int4, 120), Int4Session(int4, 120)
    for session in (at_once, slowly):
        session.read(ids[:40])
    together = at_once.read(ids[40 : 40 + new])
    for each in ids[40 : 40 + new]:
        alone = slowly.read([each])
    later = [session.read(ids[40 + new : 43 + new]) for session in (at_once, slowly)]
    for first, second in ((together, alone), later):
        first, second = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
        assert (first.exp() * (first - second)).sum() < 0.02


def conversations() -> list[list[Message]]:
    said = ["A car stopped at 9:15.", "I see two dogs by the gate.", "There are 3 people."]
    alike = [[Message.of("system", SYSTEM), Message.of("user", text)] for text in said]
    longer = [*alike[0], Message.of("assistant", f"At 9:15, {SYSTEM}"), Message.of("user", said[1])]
    return [*alike, longer, [Message.of("user", said[2])], alike[0], longer]


def test_in_float32_replies_are_those_of_one_pass(smollm2):
    tokenizer, template = Tokenizer(locate("smollm2", "tokenizer.json")), ChatML()
    model = ChatModel(smollm2, tokenizer, template, "it")
    first, second, _, longer, *_ = conversations()
    for messages in (first, second, longer):
        prompt = template.encode(tokenizer, messages)
        session = DecoderSession(smollm2, len(prompt) + 4)
        tokens = generate(session, prompt, stops=template.stops(tokenizer), most=4)
        words = tokenizer.stream()
        assert model.reply(messages, max_tokens=4) == "".join([words.add(token) for token in tokens]) != ""


def test_threads_may_talk_at_once(int4):
    tokenizer = Tokenizer(locate("smollm2", "tokenizer.json"))
    model, fresh = (ChatModel(int4.decoder, tokenizer, ChatML(), "it", int4, kept_tokens=most) for most in (512, 0))
    expected = [fresh.reply(messages, max_tokens=6) for messages in conversations()]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda messages: model.reply(messages, max_tokens=6), conversations())) == expected
