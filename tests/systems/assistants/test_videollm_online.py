"""VideoLLM-online: silence as a token, taught where frames end, and the same read frame by frame as in one pass."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from serval.conversation.sequence import IGNORED, Modality
from serval.data.worlds import scene_codes
from serval.data.worlds.streams import from_latent, from_scenes, latent_words, scene_words
from serval.language.live_stream import LiveStream
from serval.systems.assistants.videollm_online import SYSTEM, recipe, stages
from serval.training.objectives.balance import SILENT
from serval.training.objectives.next_token import NextToken
from serval.training.objectives.streaming import Streaming
from serval.training.parameters import chosen
from serval.training.stream_sample import as_streams

TINY = SYSTEM.sizes["tiny"]
SILENCE, SPEAK = TINY.layout.sentinels
SAMPLES = [from_scenes(each, scene_words(), end=0) for each in scene_codes.make(0, 3, frames=12)]


@pytest.fixture(scope="module")
def model():
    made = SYSTEM.new()
    torch.manual_seed(3)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return made


def asked():
    from serval.data.worlds.latent_streams import make

    return from_latent(make(1, 1, frames=14)[0], latent_words(), end=0)


def test_every_frame_that_is_taught_has_its_label_at_its_last_token(model):
    sequence = as_streams(model, SAMPLES)
    frames = (sequence.modality == Modality.VIDEO) & sequence.valid
    assert frames.sum(1).tolist() == [12, 12, 12]
    labels = sequence.labels[frames].view(3, 12)
    for row, sample in enumerate(SAMPLES):
        assert labels[row].tolist() == [SILENCE if each == SILENT else SPEAK for each in sample.decisions.tolist()]


def test_nobody_is_taught_to_see_a_question_coming(model):
    sample = asked()
    sequence = as_streams(model, [sample])
    ends = torch.nonzero((sequence.modality[0] == Modality.VIDEO) & (sequence.source[0] != sequence.source[0].roll(-1)))[:, 0]
    questions = {words.frame for words in sample.words if words.role == "user"}
    assert questions and all(int(sequence.labels[0, ends[frame]]) == IGNORED for frame in questions)


def test_without_weight_on_frames_the_gradient_is_that_of_words_alone(model):
    batch = {"streams": SAMPLES}
    words = as_streams(model, SAMPLES)
    words = replace(words, labels=words.labels.masked_fill(words.modality != Modality.TEXT, IGNORED))
    losses = [
        Streaming((SILENCE, SPEAK), frames=0.0, sequence=as_streams)(model, batch),
        NextToken(sequence=lambda model, batch: words)(model, batch),
    ]
    grads = [torch.autograd.grad(each.mean, model.decoder.embed_tokens.weight, retain_graph=True)[0] for each in losses]
    torch.testing.assert_close(*grads)
    assert grads[0].abs().max() > 0


@torch.inference_mode()
def test_a_dialogue_read_frame_by_frame_says_what_it_says_in_one_pass(model):
    sequence = as_streams(model, [asked()])
    cache = model.decoder.new_cache(sequence.length)
    ends = torch.nonzero(sequence.source[0] != sequence.source[0].roll(-1))[:, 0] + 1
    cuts = sorted({0, *ends.tolist(), sequence.length})
    parts = [model.decoder(sequence.slice(*cut), cache) for cut in pairwise(cuts)]
    torch.testing.assert_close(torch.cat(parts, 1), model.decoder(sequence), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_higher_threshold_never_speaks_less(model):
    frames = model.frames(SAMPLES[0].features)[None]
    spoken = []
    for threshold in (0.0, 0.3, 0.6, 0.9, 2.0):
        stream = replace(model.stream, threshold=threshold)
        spoken.append(stream.at_once(frames).speak)
    assert all((more | ~less).all() for less, more in pairwise(spoken))
    assert spoken[-1].all() and not spoken[0].all()


def test_it_speaks_hears_and_goes_on_and_its_cache_holds_all_that_was_said(model):
    live = LiveStream(replace(model.stream, threshold=2.0), 400, limit=3)
    frames = model.frames(SAMPLES[0].features).detach()
    held = []
    for number in range(3):
        _, said = live.frame(frames[number], number / 2)
        assert len(said) <= 3
        held.append(live.cache.length)
    answer = live.ask([9, 10], time=1.5)
    assert len(answer) <= 3 and live.cache.length > held[-1] > held[0] and live.seen == 3
    _, again = live.frame(frames[3], 2.0)
    assert isinstance(again, list)


def test_real_backbones_take_lora_and_a_connector_alone():
    config = SYSTEM.sizes["llama-3-8b"]
    model = SYSTEM.empty(config)
    (stage,) = stages(config)
    learns = {
        name for name, each in model.named_parameters() if name.startswith("connector") or name.endswith((".down", ".up"))
    }
    assert set(chosen(model, stage)) == learns
    assert len([name for name in learns if name.endswith("down")]) == 7 * 32 + 1  # every linear map, and the head
    assert recipe(size="llama-3-8b").stages[0].trains.keys() == stage.trains.keys()
