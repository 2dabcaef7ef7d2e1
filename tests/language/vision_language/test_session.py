"""Frames go into a session one by one, as if they had been shown at once; questions are asked aside; memory ends somewhere."""

import numpy as np
import pytest
import torch

from serval.conversation.messages import Media, Message, Text
from serval.language.eviction import Recent
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
