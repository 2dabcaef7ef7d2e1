"""A decision behind every frame: as in one pass, monotone in its threshold, and never changed by an answer given aside."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from serval.connectors.stream_layout import StreamLayout
from serval.connectors.thinking_template import thinking_segments
from serval.conversation.segments import TextSegment
from serval.language.decoder import Decoder
from serval.language.families import config_from
from serval.language.streaming_decisions import DecidingStream, decide
from serval.language.token_skipping import TokenSkipping
from serval.media.box import Box
from serval.refusal import Refusal

from .sequences import WIDTH

SEPARATED = StreamLayout(opening=(5, 6), separator=(7,), closing=(8,), user=(9, 10), assistant=(11, 12))
AT_ONCE = StreamLayout(opening=(5, 6), separator=(), closing=(8,), user=(9, 10), assistant=(11, 12), end=2)
LAYOUTS = {"ten tokens and a separator": (SEPARATED, 10), "one token": (AT_ONCE, 1)}


def letters(text, before):
    return [ord(letter) % 97 for letter in text]


def frames(count, tokens=10, batch=1):
    return torch.randn(batch, count, tokens, WIDTH, generator=torch.Generator().manual_seed(3)) * 0.5


def skipping(tiny, *layers):
    decoder = Decoder(config_from(tiny.decoder.config.source))
    decoder.load_state_dict(tiny.decoder.state_dict())
    for index in layers:
        generator = torch.Generator().manual_seed(index)
        decoder.layers[index] = TokenSkipping(decoder.layers[index], WIDTH, share=0.5, generator=generator)
    return decoder.eval()


def streamed(stream, shown, cache, between=lambda cache, decision, number: None):
    decisions = []
    for number in range(shown.shape[1]):
        decisions.append(stream.step(cache, shown[:, number], begins=number == 0))
        between(cache, decisions[-1], number)
    return decisions


@torch.inference_mode()
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("skips", [(), (0, 2)])
def test_frame_by_frame_is_as_in_one_pass(tiny, name, skips):
    layout, tokens = LAYOUTS[name]
    stream, shown = DecidingStream(skipping(tiny, *skips), layout), frames(6, tokens, batch=2)
    cache = stream.decoder.new_cache(80, 2)
    one_by_one = torch.stack([each.p_speak for each in streamed(stream, shown, cache)], dim=1)
    whole = stream.at_once(shown)
    assert whole.p_speak.shape == (2, 6) and whole.p_speak.std() > 1e-3
    torch.testing.assert_close(one_by_one, whole.p_speak, atol=1e-4, rtol=0)
    assert cache.length == 2 + 6 * tokens + 5 * len(layout.separator)


@torch.inference_mode()
def test_the_chance_is_that_of_the_logits_behind_the_last_token(tiny):
    stream, shown = DecidingStream(tiny.decoder, SEPARATED), frames(2)
    cache, other = tiny.decoder.new_cache(40), tiny.decoder.new_cache(40)
    first, second = streamed(stream, shown, cache)
    embeds = [tiny.decoder.embed(torch.tensor([[5, 6]])), shown[:, 0], tiny.decoder.embed(torch.tensor([[7]])), shown[:, 1]]
    sequence = tiny.decoder.sequence(torch.zeros(1, 23, dtype=torch.int64))
    logits = tiny.decoder(replace(sequence, embeds=torch.cat(embeds, 1)), other)
    torch.testing.assert_close(first.p_speak, 1 - logits[:, 11].softmax(-1)[:, 7], atol=1e-4, rtol=0)
    torch.testing.assert_close(second.p_speak, 1 - logits[:, 22].softmax(-1)[:, 7], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_words_between_frames_are_part_of_the_stream(tiny):
    stream, shown = DecidingStream(tiny.decoder, SEPARATED), frames(4)
    cache, whole = tiny.decoder.new_cache(80), tiny.decoder.new_cache(80)
    said = torch.tensor([[8, 11, 12, 40, 41, 2]])
    streamed(stream, shown[:, :2], cache)
    stream.decoder(said, cache)
    after = streamed(stream, shown[:, 2:], cache)
    stream.at_once(shown[:, :2], whole)
    stream.decoder(said, whole)
    torch.testing.assert_close(
        torch.stack([each.p_speak for each in after], 1), stream.at_once(shown[:, 2:], whole).p_speak, atol=1e-4, rtol=0
    )


@torch.inference_mode()
@pytest.mark.parametrize("skips", [(), (0, 2)])
def test_the_slow_path_changes_no_decision(tiny, skips):
    stream, shown = DecidingStream(skipping(tiny, *skips), SEPARATED, threshold=0.5), frames(6)
    features, project = torch.randn(6, 6, 8), torch.nn.Linear(8, WIDTH)
    answered = []

    def think(cache, decision, number):
        boxes = [Box(0.1, 0.1, 0.4, 0.5)] * (number % 2)
        segments = thinking_segments(
            SEPARATED, letters, shown[0, number], features, boxes, project, source=cache.length, time=number / 2
        )
        logits, fork = stream.aside(cache, segments, reply=3)
        for _ in range(3):
            logits = stream.decoder(logits.argmax(-1)[None], fork, last=True)[:, 0]
        answered.append(logits)
        assert fork.length > cache.length + 40

    with_answers = streamed(stream, shown, stream.decoder.new_cache(80), think)
    without = streamed(stream, shown, stream.decoder.new_cache(80))
    assert len(answered) == 6
    for one, other in zip(with_answers, without, strict=True):
        assert torch.equal(one.p_speak, other.p_speak) and torch.equal(one.speak, other.speak)


@torch.inference_mode()
def test_a_reply_aside_is_what_the_stream_itself_would_say(tiny):
    stream, shown = DecidingStream(tiny.decoder, SEPARATED), frames(3)
    cache, whole = tiny.decoder.new_cache(60), tiny.decoder.new_cache(60)
    streamed(stream, shown, cache)
    stream.at_once(shown, whole)
    logits, _ = stream.aside(cache, [TextSegment([8, 11, 12])])
    expected = tiny.decoder(torch.tensor([[8, 11, 12]]), whole, last=True)[:, 0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_silence_has_to_be_likely_enough_and_the_likeliest():
    silence = 1
    logits = torch.log(torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1]]))
    surely = decide(logits, silence, 0.725)
    torch.testing.assert_close(surely.p_speak, torch.tensor([0.2, 0.4, 0.6]))
    assert surely.speak.tolist() == [False, True, True] and surely.token.tolist() == [1, 0, 0]
    assert decide(logits, silence, 0.0).speak.tolist() == [False, False, True]
    assert decide(logits, silence, 0.3).token.tolist() == [1, 1, 0]


def test_a_higher_threshold_never_speaks_less():
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 2
    spoken = [decide(logits, 2, threshold).speak for threshold in (0.0, 0.5, 0.6, 0.8, 0.9, 1.01)]
    for lower, higher in pairwise(spoken):
        assert not (lower & ~higher).any() and not torch.equal(lower, higher)
    assert spoken[-1].all() and torch.equal(spoken[0], logits.argmax(-1) != 2)


@torch.inference_mode()
def test_a_stream_longer_than_its_cache_is_refused_and_nothing_changes(tiny):
    stream, shown = DecidingStream(tiny.decoder, SEPARATED), frames(2)
    cache = tiny.decoder.new_cache(15)
    stream.step(cache, shown[:, 0], begins=True)
    with pytest.raises(Refusal, match="tokens long"):
        stream.step(cache, shown[:, 1])
    assert cache.length == 12
