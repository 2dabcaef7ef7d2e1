"""Frames go into a session one by one, as if they had been shown at once; questions are asked aside; memory ends somewhere."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from serval.conversation.messages import Media, Message, Text
from serval.language.cache_file import restore_cache, save_cache
from serval.language.eviction import Recent
from serval.language.vision_language.model import VisionLanguageModel
from serval.language.vision_language.session import FrameSession
from serval.media.frame import Frame
from serval.refusal import Refusal

from .conftest import picture


def frames(count: int) -> list[Frame]:
    return [Frame.from_rgb(picture(40, 56, seed), index=seed, time=float(seed)) for seed in range(count)]


def test_a_question_after_frames_is_answered_as_if_they_had_been_shown_at_once(tiny):
    session, seen = FrameSession(tiny.model, 4000), frames(3)
    for frame in seen:
        session.see(frame)
    length = session.length
    shown: dict[Media, np.ndarray] = {Media(kind="image", attached=number): each.rgb for number, each in enumerate(seen)}
    at_once = tiny.model.sequence([Message(role="user", parts=(*shown, Text(text="What was it?")))], shown)
    with torch.inference_mode():
        expected = tiny.model(at_once, last=True)[0, 0]
    # reading the question leaves the same as reading everything in one go, up to how text around media is cut into tokens
    said = session.ask("What was it?", max_tokens=4)
    assert session.length == length and session.frames == 3
    assert session.ask("What was it?", max_tokens=4) == said  # aside: nothing was changed
    found = session.logits("What was it?")
    torch.testing.assert_close(found, expected, atol=5e-4, rtol=1e-3)


def test_memory_ends_somewhere_however_long_the_stream(tiny_of):
    model = tiny_of("llava").model
    session = FrameSession(model, 400, eviction=Recent(120, sinks=8))
    held = []
    for frame in frames(20):
        session.see(frame)
        held.append(session.held)
    assert max(held) <= 128 and session.length > 200
    assert isinstance(session.ask("What was it?", max_tokens=3), str)


def test_without_a_rule_it_is_refused_where_memory_ends(tiny_of):
    session = FrameSession(tiny_of("llava").model, 60)
    with pytest.raises(Refusal, match="60 is the limit"):
        for frame in frames(20):
            session.see(frame)
    length = session.length
    assert session.frames > 0 and session.length == length


def test_a_session_goes_on_from_what_another_has_read_and_kept_in_a_file(tiny, tmp_path):
    session, seen = FrameSession(tiny.model, 4000), frames(3)
    for frame in seen[:2]:
        session.see(frame)
    save_cache(session.cache, tmp_path / "memory.safetensors")
    kept = tiny.model.new_cache(4000)
    restore_cache(kept, tmp_path / "memory.safetensors")
    later = FrameSession(tiny.model, kept)
    assert (later.frames, later.length) == (2, session.length)
    for each in (session, later):
        each.see(seen[2])
    assert torch.equal(later.logits("What was it?"), session.logits("What was it?"))
    with pytest.raises(ValueError, match="eviction"):
        FrameSession(tiny.model, kept, eviction=Recent(20))


def test_every_reading_of_a_session_is_told_its_features(tiny_of):
    """What is asked aside, too: a layer that listens changes what is said by what it is told."""

    class Listening(nn.Module):
        def forward(self, hidden, reading):
            told.append(reading.features["task"])
            return hidden * reading.features["task"]

    told: list[torch.Tensor] = []
    tiny = tiny_of("llava")
    model = VisionLanguageModel(tiny.model.config, copy.deepcopy(tiny.model.decoder), tiny.model.vision)
    model.connector, model.speech = tiny.model.connector, tiny.model.speech
    model.decoder.after(0, Listening())
    sessions = [FrameSession(model, 4000, features={"task": torch.tensor(scale)}) for scale in (1.0, 1.0, 0.5)]
    for session in sessions:
        session.see(frames(1)[0])
    one, same, other = (session.logits("What?") for session in sessions)
    assert len(told) == 3 * 4 and torch.equal(one, same) and not torch.allclose(one, other)
    silent = FrameSession(tiny.model, 4000)
    silent.see(frames(1)[0])
    torch.testing.assert_close(one, silent.logits("What?"))
