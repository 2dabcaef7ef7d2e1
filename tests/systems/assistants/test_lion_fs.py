"""LION-FS: what each of its parts promises, in its own composition; the fast path alone decides, the slow one only answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from serval.connectors.grid_reducer import average_pool
from serval.connectors.region_pool import box_pool, quadrant_pool
from serval.conversation.segments import MediaSegment, from_segments
from serval.conversation.sequence import Modality
from serval.data.worlds.streams import from_two_cues, two_cue_words
from serval.data.worlds.two_cues import make
from serval.encoders.given_tower import GivenTower
from serval.language.decoder import Decoder
from serval.language.eviction import Recent
from serval.language.live_stream import LiveStream, Wake
from serval.language.token_skipping import TokenSkipping
from serval.media.box import Box
from serval.systems.assistants.lion_fs import SYSTEM, Eyes, recipe, stages
from serval.systems.assistants.videollm_online import TINY_LAYOUT
from serval.systems.saved import load_system, save_system
from serval.training.objectives.streaming import frame_ends
from serval.training.parameters import chosen
from serval.training.stream_sample import as_streams

TINY = SYSTEM.sizes["tiny"]
SAMPLES = [from_two_cues(clip, two_cue_words(), end=0) for clip in make(0, 2, frames=12)]
LETTERS = {"Stream: ": [9], "Please focus on ": [10, 11], ".\n": [12], "\n": [13]}
HAND, CUP = Box(0.0, 0.0, 0.25, 0.5), Box(0.5, 0.5, 1.0, 1.0)


def drawn(**options):
    """Numbers large enough that mistakes show."""
    model = SYSTEM.new(TINY.model_copy(update=options))
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return drawn()


def sources(model, sample=SAMPLES[0]):
    return [bridge.steps(seen) for bridge, seen in zip(model.bank.bridges, sample.features, strict=True)]


class TestRouter:
    def test_ten_tokens_whose_weights_sum_to_one(self, model):
        weights = model.bank.mixer.weights(sources(model))
        assert model.frames(SAMPLES[0].features).shape == (12, 10, 64) and weights.shape == (12, 10, 2)
        torch.testing.assert_close(weights.sum(-1), torch.ones(12, 10))
        assert weights.std() > 0.01  # the test is of something

    def test_all_weight_on_general_is_general_alone_bit_for_bit(self):
        model = drawn()
        last = model.bank.mixer.layers[-1]
        torch.nn.init.zeros_(last.weight)
        last.bias.copy_(torch.tensor([1e4, -1e4]).repeat(10))
        assert torch.equal(model.frames(SAMPLES[0].features), sources(model)[0])

    def test_ego_features_change_no_weight(self, model):
        general, ego = sources(model)
        weights = model.bank.mixer.weights([general, ego])
        assert torch.equal(model.bank.mixer.weights([general, ego + 7.0]), weights)
        assert not torch.equal(model.bank.mixer.weights([general + 7.0, ego]), weights)


class TestDropping:
    def test_words_stay_and_five_of_ten_leave_as_they_came(self, model):
        sequence = as_streams(model, SAMPLES[:1])
        skipping, out = model.decoder.layers[0], None
        out = skipping(sequence.embeds, model.decoder.reading(sequence))
        same = (out == sequence.embeds).all(-1)[0]
        assert not same[sequence.modality[0] == Modality.TEXT].any()
        for source in range(12):
            assert int((~same[sequence.source[0] == source]).sum()) == 5

    @pytest.mark.parametrize(("share", "kept"), [(0.0, 10), (0.25, 8), (0.5, 5), (0.8, 2)])
    def test_what_stays_is_in_order_and_as_many_as_the_budget(self, share, kept):
        model, seen = drawn(share=share), []
        model.decoder.layers[0].layer.register_forward_pre_hook(lambda _, given: seen.append(given[1].sequence))
        sequence = as_streams(model, SAMPLES[:1])
        model.decoder(sequence)
        (passed,) = seen
        assert (passed.position.diff() > 0).all()
        assert [int((passed.source == source).sum()) for source in range(12)] == [kept] * 12

    def test_without_a_share_it_is_the_plain_decoder_bit_for_bit(self):
        model = drawn(share=0.0)
        plain = Decoder(model.decoder.config)
        plain.load_state_dict(
            {name.replace(".layer.", "."): each for name, each in model.decoder.state_dict().items() if "router" not in name}
        )
        sequence = as_streams(model, SAMPLES)
        assert torch.equal(model.decoder(sequence), plain.eval()(sequence))

    def test_a_budget_for_the_whole_sequence_lets_the_future_change_the_past(self, model):
        """What the released code does, which is one medium for all frames; a budget for each frame does not."""
        sequence = as_streams(model, SAMPLES[:1])
        last = sequence.source[0] == 11
        future = torch.where(last[:, None], sequence.embeds + 1.0, sequence.embeds)
        before = int(last.nonzero()[0])
        for whole in (False, True):
            source = torch.where(sequence.source >= 0, 0, -1) if whole else sequence.source
            found, other = (
                model.decoder(replace(sequence, source=source, embeds=embeds))[:, :before]
                for embeds in (sequence.embeds, future)
            )
            assert bool((found - other).abs().max() > 1e-3) == whole

    def test_every_router_of_every_second_layer_learns(self):
        config = TINY.model_copy(update={"language": TINY.language | {"num_hidden_layers": 5}})
        model = SYSTEM.new(config)
        assert [isinstance(layer, TokenSkipping) for layer in model.decoder.layers] == [True, False, True, False, True]
        (stage,) = stages(config)
        stage.objective(model, {"streams": SAMPLES}).total.backward()
        for number in (0, 2, 4):
            assert model.decoder.layers[number].router.weight.grad.abs().max() > 0


class TestFastPath:
    def test_streamed_is_as_batched(self, model):
        frames = torch.stack([model.frames(each.features) for each in SAMPLES])
        at_once = model.fast.at_once(frames)
        cache = model.decoder.new_cache(200, batch=2)
        steps = [model.fast.step(cache, frames[:, number], begins=not number) for number in range(12)]
        torch.testing.assert_close(torch.stack([step.p_speak for step in steps], 1), at_once.p_speak, atol=1e-4, rtol=0)
        assert cache.held(0) == 2 + 12 * 5 + 11 and cache.held(1) == 2 + 12 * 10 + 11

    def test_it_is_what_was_learned(self, model):
        """The logits behind frames that the loss reads are those that the stream decides by."""
        sample = replace(SAMPLES[0], words=())
        sequence = as_streams(model, [sample])
        logits = model.decoder(sequence)[0, frame_ends(sequence)[0]]
        decided = model.fast.at_once(model.frames(sample.features)[None])
        silent = logits.softmax(-1)[:, TINY_LAYOUT.silence]
        torch.testing.assert_close(decided.p_speak[0], 1 - silent)

    def test_a_budget_keeps_memory_flat(self, model):
        cache = model.decoder.new_cache(64, eviction=Recent(40, sinks=3))
        live = LiveStream(model.fast, cache)
        for frame in model.frames(SAMPLES[0].features).repeat(4, 1, 1):
            live.see(frame)
        assert cache.held(0) <= 43 and cache.held(1) == 43 and cache.length > 500


def encode(text, before):
    return LETTERS[text]


def maps(number):
    return torch.randn(24, 24, 32, generator=torch.Generator().manual_seed(number))


class TestSlowPath:
    def test_quarters_are_a_permutation_of_the_fine_pool_and_a_whole_box_the_mean(self):
        features = maps(0)
        quarters, fine = quadrant_pool(features).flatten(0, 1), average_pool(features, (6, 6)).flatten(0, 1)
        same = (quarters[:, None] == fine).all(-1)
        assert same.sum(0).eq(1).all() and same.sum(1).eq(1).all()
        torch.testing.assert_close(box_pool(features, [Box(0.0, 0.0, 1.0, 1.0)])[0], features.mean((0, 1)))

    def read(self, model, boxes, **wake):
        segments = model.slow(lambda number: (maps(number), boxes), encode)(Wake(2, torch.ones(10, 64), **wake))
        return segments, from_segments(segments, model.decoder.embed)

    def test_the_template_shows_frame_quarters_and_boxes(self, model):
        segments, sequence = self.read(model, [HAND, CUP])
        texts = [tuple(each.ids) for each in segments if not isinstance(each, MediaSegment)]
        assert texts[0] == (*TINY_LAYOUT.closing, 9)
        assert texts[-3:] == [(*TINY_LAYOUT.user, 10, 11), (12,), TINY_LAYOUT.assistant]
        kinds = sequence.modality[0]
        assert int((kinds == Modality.VIDEO).sum()) == 10 + 36 and int((kinds == Modality.REGION).sum()) == 2
        shown = next(each.features for each in segments if isinstance(each, MediaSegment) and len(each.features) == 9)
        torch.testing.assert_close(shown, model.bank.bridges[0].steps(average_pool(maps(2)[:12, :12], (3, 3)).flatten(0, 1)))

    def test_without_boxes_nobody_asks_to_focus(self, model):
        segments, _ = self.read(model, [])
        texts = [tuple(each.ids) for each in segments if not isinstance(each, MediaSegment)]
        assert texts[-2:] == [TINY_LAYOUT.closing, TINY_LAYOUT.assistant]

    def test_a_question_takes_the_request_s_place_and_a_closed_run_is_not_closed_again(self, model):
        segments, _ = self.read(model, [CUP], question=(20, 21), open=False)
        texts = [tuple(each.ids) for each in segments if not isinstance(each, MediaSegment)]
        assert texts[0] == (9,) and texts[-3:] == [(*TINY_LAYOUT.user, 20, 21), (13,), TINY_LAYOUT.assistant]

    @pytest.mark.parametrize("told", [False, True])
    def test_it_changes_no_decision(self, model, told):
        """Up to the first answer, and for good where what was said is the same."""
        slow = model.slow(lambda number: (maps(number), [HAND, CUP]), encode)
        found = []
        for prepare in (None, slow):
            live, decided, said = LiveStream(model.fast, 2000, limit=5, prepare=prepare), [], []
            for number, frame in enumerate(model.frames(SAMPLES[0].features)):
                decided.append(live.see(frame, number / 2).p_speak)
                if number % 4 == 3:
                    said.append(live.think() if told else live.say())
                    if not told:
                        break
                    live.told("assistant", [20, 21, 0])
            found.append((torch.cat(decided), said))
        (plain, short), (slowly, long) = found
        assert torch.equal(plain, slowly) and short != long

    def test_a_question_is_answered_from_a_close_look(self, model):
        slow = model.slow(lambda number: (maps(number), [HAND]), encode)
        answers = []
        for prepare in (None, slow):
            live = LiveStream(model.fast, 500, limit=5, prepare=prepare)
            for frame in model.frames(SAMPLES[0].features)[:3]:
                live.see(frame)
            answers.append(live.ask([20, 21]))
            after = live.see(model.frames(SAMPLES[0].features)[3])
            assert torch.isfinite(after.p_speak).all()
        assert answers[0] != answers[1]


def test_eyes_of_its_own_and_given_ones_make_the_same_frames(tiny_eyes):
    """Pictures through a bank, and the tokens that were kept of them."""
    config = TINY.model_copy(
        update={"eyes": (Eyes(tower=tiny_eyes), Eyes(tower=tiny_eyes | {"model_type": "vit"}, summary="prefix", clip=4))}
    )
    model = SYSTEM.new(config)
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (3, 24, 24, 3), dtype=np.uint8))
    clips = list(random.integers(0, 256, (12, 24, 24, 3), dtype=np.uint8))
    general, ego = model.bank.towers
    seen = model.bank.encode([general.prepare(pictures), ego.prepare(clips)])
    kept = [bridge.look(each) for bridge, each in zip(model.bank.bridges, seen, strict=True)]
    assert [each.shape for each in kept] == [(3, 10, 16)] * 2
    assert torch.equal(model.bank(seen), model.frames(kept))
    torch.testing.assert_close(kept[1][1, 0], seen[1].prefix[4:8, 0].mean(0))


@pytest.fixture
def tiny_eyes():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {"model_type": "siglip_vision_model", "image_size": 24, "patch_size": 4} | sizes


def test_given_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match="32 are expected"):
        GivenTower(32).prepare([torch.zeros(10, 31)])


def test_it_is_saved_and_read_again(tmp_path, tiny_eyes):
    config = TINY.model_copy(update={"rank": 4, "eyes": (Eyes(tower=tiny_eyes), Eyes(tower=8))})
    model = SYSTEM.new(config).eval()
    torch.nn.init.normal_(model.decoder.layers[0].layer.self_attn.q_proj.up, std=0.5)
    save_system(model, tmp_path, "lion-fs")
    again = load_system(tmp_path)
    features = [torch.randn(3, 10, 16), torch.randn(3, 10, 8)]
    assert torch.equal(
        again.fast.at_once(again.frames(features)[None]).p_speak, model.fast.at_once(model.frames(features)[None]).p_speak
    )


def test_the_papers_size_trains_what_the_paper_says():
    made = recipe(size="llama-3-8b")
    model = made.empty_model()
    counts: dict[str, int] = {}
    for found in chosen(model, made.stages[0]).values():
        counts[found.pattern] = counts.get(found.pattern, 0) + found.parameter.numel()
    assert counts["decoder.*.router.*"] == 16 * 4096
    assert counts["bank.bridges.*"] == (1024 + 4096 + 2) * 4096 + (768 + 4096 + 2) * 4096
    assert counts["bank.mixer.*"] == 4097 * 4096 + 4097 * 20
    assert all("tower" not in name for name in chosen(model, made.stages[0]))


@pytest.mark.parametrize("mixing", ["router", "static", "add", "concat"])
def test_every_mixing_learns(mixing):
    made = recipe(mixing=mixing, steps=1)
    model = made.model(torch.device("cpu"))
    loss = made.stages[0].objective(model, {"streams": SAMPLES})
    loss.total.backward()
    silent = {name for name in chosen(model, made.stages[0]) if model.get_parameter(name).grad is None}
    assert not silent and model.frames(SAMPLES[0].features).shape[1] == (20 if mixing == "concat" else 10)
