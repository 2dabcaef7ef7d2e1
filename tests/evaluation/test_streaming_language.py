"""The streaming scores, against numbers worked out by hand, and a tiny decoder read at once and frame by frame."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from serval.conversation.segments import MediaSegment, TextSegment, from_segments
from serval.conversation.sequence import IGNORED, Modality, pad_batch
from serval.data.worlds import said
from serval.evaluation.streaming_language import (
    Layout,
    StreamScore,
    late_frames,
    mean_scores,
    score_stream,
    score_turns,
    stream_score,
)
from serval.language.config import AttentionConfig, DecoderConfig, FeedForwardConfig, LayerConfig, NormConfig
from serval.language.decoder import Decoder
from serval.language.rotary import Rotary
from serval.language.token_skipping import TokenSkipping
from serval.training.objectives import balance

SILENCE, OPEN, YES, NO, END = range(5)


def stream(*turns, asked=()):
    """Labels and layout of turns of (frames, words): one place for each frame, one for each word and one for the end token."""
    labels, frames, ends = [], [], []
    for number, (count, words) in enumerate(turns):
        frames += range(len(labels), len(labels) + count)
        labels += [SILENCE] * (count - 1) + [IGNORED if number in asked else OPEN] * (count > 0)
        labels += [*words, IGNORED]
        ends.append(len(labels))
    return torch.tensor(labels), Layout(tuple(frames), tuple(ends))


def right(labels, sure=20.0):
    """Logits of a model that is right everywhere."""
    return torch.nn.functional.one_hot(labels.clamp_min(0), 5).float() * sure


def nobody(place, frames):
    raise AssertionError("it was not to be asked")


def silent(count, then=None):
    """A `Late` that stays silent, but for the ``then``-th frame, and wants exactly ``count`` frames."""

    def late(place, frames):
        assert len(frames) == count
        return [torch.eye(5)[OPEN if number == then else SILENCE] for number in range(count)]

    return late


WORDS = [YES, NO, YES, END]  # m = 4
TURNS = ((4, WORDS), (3, WORDS))


def first(changes, late=nobody, turns=TURNS, **options):
    """The first turn's score where the model says ``changes`` (place → id) and is right elsewhere."""
    labels, layout = stream(*turns)
    logits = right(labels)
    for place, token in changes.items():
        logits[place] = 20.0 * torch.eye(5)[token]
    return score_turns(logits, labels, layout, late, silence=SILENCE, **options)[0]


class TestByHand:
    def test_exact_and_without_a_mistake(self):
        score = first({})
        assert (score.shift, score.correctness, score.fluency) == (0, 1.0, 1.0)
        assert score.perplexity == pytest.approx(1 + 4 * math.exp(-20))

    def test_exact_with_a_mistake_in_the_third_word(self):
        score = first({6: NO})
        assert (score.shift, score.correctness, score.fluency) == (0, 2 / 4, (4 + 2) / (4 + 4))
        assert score.perplexity == pytest.approx(math.exp(20 / 4))

    def test_only_words_before_the_first_mistake_count(self):
        assert first({4: NO}).correctness == 0.0

    def test_early_by_two(self):
        score = first({1: OPEN})
        assert (score.shift, score.fluency, score.correctness) == (2, (4 - 2) / 8, 1.0)

    def test_any_token_but_silence_speaks(self):
        assert first({0: YES}).shift == 3

    @pytest.mark.parametrize(("then", "shift"), [(0, -1), (1, -2), (2, -3), (None, -3)])
    def test_late_or_never(self, then, shift):
        # n - 1 = 3 frames may follow, and the next turn has them
        score = first({3: SILENCE}, silent(3, then))
        assert (score.shift, score.fluency) == (shift, (4 - 1) / 8)

    def test_no_more_frames_follow_than_the_next_turn_has(self):
        assert first({3: SILENCE}, silent(2), ((4, WORDS), (2, WORDS))).shift == -2

    def test_a_single_frame_has_none_to_follow(self):
        score = first({0: SILENCE}, nobody, ((1, WORDS), (3, WORDS)))
        assert (score.shift, score.fluency) == (0, 1.0)

    def test_silence_until_the_end_costs_nothing(self):
        assert first({3: SILENCE}, nobody, ((4, WORDS),)).shift == 0

    def test_frames_after_the_first_that_speaks_are_not_looked_for(self):
        def late(place, frames):
            yield torch.eye(5)[OPEN]
            raise AssertionError("one frame was enough")

        assert first({3: SILENCE}, late).shift == -1

    def test_what_follows_is_asked_at_the_last_labelled_frame_for_the_next_turns_frames(self):
        asked = []
        first({3: SILENCE}, lambda place, frames: asked.append((place, list(frames))) or [])
        assert asked == [(3, [4, 5, 6])]

    def test_a_mean_over_turns_in_seconds(self):
        labels, layout = stream(*TURNS)
        logits = right(labels)
        logits[1] = 20.0 * torch.eye(5)[OPEN]  # early by two, of four frames and four words
        logits[12] = 20.0 * torch.eye(5)[NO]  # the first word of the second turn
        score = stream_score(score_turns(logits, labels, layout, nobody, silence=SILENCE), fps=2.0)
        assert score.time_difference == pytest.approx((2 / 2 + 0) / 2)
        assert score.fluency == pytest.approx(((4 - 2) / 8 + (3 + 0) / 7) / 2)
        assert score.correctness == pytest.approx((1 + 0) / 2)
        assert score.perplexity == pytest.approx((1 + math.exp(5)) / 2, rel=1e-6)

    def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_its_vocabulary(self):
        labels, layout = stream(*TURNS)
        turns = score_turns(torch.zeros(len(labels), 5), labels, layout, nobody, silence=YES)
        assert [turn.perplexity for turn in turns] == pytest.approx([5.0, 5.0])

    def test_an_unlabelled_turn_is_in_no_score(self):
        labels, layout = stream((1, [IGNORED] * 3), (3, WORDS))
        labels[0] = IGNORED
        [turn] = score_turns(right(labels), labels, layout, nobody, silence=SILENCE)
        assert turn.shift == 0 and turn.fluency == 1.0

    def test_frames_that_are_not_learned_do_not_count(self):
        labels, layout = stream((4, WORDS))
        labels[:2] = IGNORED
        logits = right(labels)
        logits[0] = torch.eye(5)[OPEN]  # speaks where nothing is asked
        [turn] = score_turns(logits, labels, layout, nobody, silence=SILENCE)
        assert (turn.shift, turn.fluency) == (0, 1.0)

    def test_an_answer_to_a_question_has_words_but_no_time(self):
        labels, layout = stream((4, WORDS), (3, WORDS), asked={0})
        turns = score_turns(right(labels), labels, layout, nobody, silence=SILENCE)
        assert (turns[0].shift, turns[0].fluency, turns[0].correctness) == (None, None, 1.0)
        score = stream_score(turns[:1], 2.0)
        assert math.isnan(score.time_difference) and math.isnan(score.fluency) and score.correctness == 1.0

    def test_what_has_no_labels_has_no_score(self):
        labels, layout = stream((2, WORDS))
        assert score_turns(right(labels), torch.full_like(labels, IGNORED), layout, nobody, silence=SILENCE) == []
        assert all(math.isnan(each) for each in vars(stream_score([], 2.0)).values())

    def test_shapes_that_do_not_fit(self):
        labels, layout = stream((2, WORDS))
        with pytest.raises(ValueError, match="labels"):
            score_turns(right(labels)[:-1], labels, layout, nobody, silence=SILENCE)
        with pytest.raises(ValueError, match="outside"):
            score_turns(right(labels), labels, Layout((99,), layout.ends), nobody, silence=SILENCE)


class TestThreshold:
    def test_silence_below_the_threshold_is_speech(self):
        labels, layout = stream((4, WORDS))
        logits = right(labels)
        logits[1] = torch.tensor([2.0, 1, 0, 0, 0])  # P(silence) = 0.58
        shifts = [
            score_turns(logits, labels, layout, nobody, silence=SILENCE, threshold=each)[0].shift for each in (0, 0.5, 0.6)
        ]
        assert shifts == [0, 0, 2]

    def test_it_holds_for_frames_that_come_late_too(self):
        labels, layout = stream(*TURNS)
        logits = right(labels)
        logits[3] = 20.0 * torch.eye(5)[SILENCE]
        unsure = [torch.tensor([2.0, 1, 0, 0, 0])] * 3
        turns = score_turns(logits, labels, layout, lambda place, frames: unsure, silence=SILENCE, threshold=0.6)
        assert turns[0].shift == -1


def test_worlds_and_training_mean_the_same_by_silence_and_speech():
    assert (said.IGNORED, said.SILENT, said.SPEAK) == (IGNORED, balance.SILENT, balance.SPEAK)


def test_means_over_streams_leave_out_what_is_not_defined():
    scores = [StreamScore(2.0, math.nan, 0.5, 1.0), StreamScore(4.0, 1.0, 0.7, 0.0), StreamScore(6.0, 3.0, 0.9, 0.5)]
    means = mean_scores(scores, seed=3)
    assert [means[name].value for name in vars(scores[0])] == pytest.approx([4.0, 2.0, 0.7, 0.5])
    assert 2.0 <= means["perplexity"].low < 4.0 < means["perplexity"].high <= 6.0
    assert means == mean_scores(scores, seed=3)


WIDTH, VOCABULARY = 24, 31
SEPARATOR, CLOSE, EOS = 3, 4, 5


def tiny(kind="attention"):
    """A random decoder with weights large enough that mistakes show."""
    attention = AttentionConfig(4, 2, 6, 6**-0.5, Rotary(6, 1e4))
    layers = (LayerConfig(attention, FeedForwardConfig(32)),) * 3
    config = DecoderConfig(
        "tiny", vocab_size=VOCABULARY, width=WIDTH, layers=layers, norm=NormConfig(1e-5), max_position=512, tied=True
    )
    decoder = Decoder(config)
    generator = torch.Generator().manual_seed(5)
    if kind == "skipping":
        decoder.layers[1] = TokenSkipping(decoder.layers[1], WIDTH, share=0.5)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0, generator=generator)
    return decoder.eval()


def dialogue(decoder, runs, *, separator=(SEPARATOR,), seed=0, tokens=4):
    """A sequence of runs of (frames, words): "[" frames with separators "]" words and the end."""
    generator = torch.Generator().manual_seed(seed)
    segments, targets, number = [TextSegment([1, 7, 8])], {}, 0
    for count, words in runs:
        segments.append(TextSegment([9]))
        for frame in range(count):
            if frame and separator:
                segments.append(TextSegment(separator))
            features = torch.randn(tokens, WIDTH, generator=generator)
            segments.append(MediaSegment(features, Modality.VIDEO, number, number / 2))
            targets[number] = CLOSE if frame == count - 1 else SEPARATOR
            number += 1
        segments += [TextSegment([CLOSE]), TextSegment([*words, EOS], learn=True)]
    with torch.no_grad():
        sequence = from_segments(segments, decoder.embed)
    labels = sequence.labels.clone()
    for number, target in targets.items():
        labels[0, int(torch.nonzero(sequence.source[0] == number)[-1])] = target
    return replace(sequence, labels=labels)


RUNS = [(4, [11, 12]), (5, [13, 14, 15]), (1, [16]), (3, [17, 18])]
KINDS = ["attention", "skipping"]


class TestWithADecoder:
    def test_layout_of_a_sequence(self):
        sequence = dialogue(tiny(), RUNS)
        layout = Layout.of(sequence, EOS)
        assert len(layout.frames) == 13 and len(layout.ends) == 4
        last = [int(torch.nonzero(sequence.source[0] == number)[-1]) for number in range(13)]
        assert list(layout.frames) == last
        assert sequence.labels[0, last].tolist() == [3, 3, 3, 4, 3, 3, 3, 3, 4, 4, 3, 3, 4]
        assert layout.ends[-1] == sequence.length - 1  # the end token itself

    def test_text_that_belongs_to_a_frame_is_no_frame(self):
        sequence = dialogue(tiny(), RUNS)
        source = torch.where(sequence.source < 0, 2, sequence.source)
        assert Layout.of(replace(sequence, source=source), EOS) == Layout.of(sequence, EOS)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("seed", range(3))
    def test_streamed_it_is_what_it_is_in_one_pass(self, kind, seed):
        decoder = tiny(kind)
        sequence = dialogue(decoder, RUNS, seed=seed)
        options = {"silence": SEPARATOR, "end": EOS, "fps": 2.0, "separator": [SEPARATOR]}
        whole, streamed = (score_stream(decoder, sequence, **options, streamed=way) for way in (False, True))
        assert vars(whole) == pytest.approx(vars(streamed), rel=1e-5)
        assert 1 < whole.perplexity < math.inf and 0 <= whole.fluency <= 1

    @pytest.mark.parametrize("separator", [(SEPARATOR,), (SEPARATOR, 6)])
    @pytest.mark.parametrize("kind", KINDS)
    def test_frames_that_follow_are_read_as_if_no_answer_had_been(self, kind, separator):
        decoder = tiny(kind)
        sequence = dialogue(decoder, RUNS, separator=separator)
        layout = Layout.of(sequence, EOS)
        with torch.no_grad():
            cache = decoder.new_cache(300)
            decoder(sequence, cache)
            late = torch.stack(list(late_frames(decoder, sequence, layout, cache, separator)(layout.frames[3], [4, 5, 6])))
            # one run of seven frames, of the same features: the answer after the fourth was never there
            unbroken = dialogue(decoder, [(9, [13, 14, 15])], separator=separator)
            places = list(Layout.of(unbroken, EOS).frames[4:7])
            expected = decoder(unbroken)[0, places]
        torch.testing.assert_close(late, expected, atol=1e-4, rtol=1e-4)

    def test_without_a_separator_frames_follow_one_another(self):
        decoder = tiny()
        sequence = dialogue(decoder, RUNS, separator=(), tokens=1)
        layout = Layout.of(sequence, EOS)
        with torch.no_grad():
            cache = decoder.new_cache(300)
            decoder(sequence, cache)
            late = torch.stack(list(late_frames(decoder, sequence, layout, cache)(layout.frames[3], [4, 5])))
            unbroken = dialogue(decoder, [(9, [13])], separator=(), tokens=1)
            expected = decoder(unbroken)[0, list(Layout.of(unbroken, EOS).frames[4:6])]
        torch.testing.assert_close(late, expected, atol=1e-4, rtol=1e-4)

    def test_positions_of_several_axes_move_along(self):
        decoder = tiny()
        sequence = dialogue(decoder, RUNS)
        three = replace(sequence, position=sequence.position[..., None].expand(-1, -1, 3).contiguous())
        layout, read = Layout.of(three, EOS), []

        def note(tokens, cache, **options):
            read.append(tokens.position[0])
            return decoder(replace(tokens, position=tokens.position[..., 0].contiguous()), cache, **options)

        class Noting:
            device, sequence = decoder.device, staticmethod(decoder.sequence)
            __call__ = staticmethod(note)

        with torch.no_grad():
            cache = decoder.new_cache(300)
            decoder(sequence, cache)
            list(late_frames(Noting(), three, layout, cache, [SEPARATOR])(layout.frames[3], [4]))
        following = float(sequence.position[0, layout.frames[3]]) + 1
        assert read[0].shape == (5, 3) and read[0][:, 1].tolist() == [following + each for each in range(5)]

    def test_several_rows_are_refused(self):
        sequence = dialogue(tiny(), RUNS)
        two = type(sequence)(**{name: torch.cat([value] * 2) for name, value in vars(sequence).items()})
        with pytest.raises(ValueError, match="2 rows"):
            score_stream(tiny(), two, silence=SEPARATOR, end=EOS, fps=2.0)

    def test_padding_changes_nothing(self):
        decoder = tiny()
        short, long = dialogue(decoder, RUNS[:2]), dialogue(decoder, RUNS)
        options = {"silence": SEPARATOR, "end": EOS, "fps": 2.0, "separator": [SEPARATOR]}
        alone = score_stream(decoder, short, **options)
        for side in ("right", "left"):
            padded = pad_batch([short, long], side).row(0)
            assert vars(score_stream(decoder, padded, **options)) == pytest.approx(vars(alone), rel=1e-5)
