"""Answers from a Ray cluster on this machine: the same words as from this process."""

import numpy as np
import pytest

from serval.assistant.answers.answer import Request
from serval.assistant.answers.build import build_answerer
from serval.assistant.event import Fact, FactKind
from serval.media.frame import Frame
from serval.serving.ray_answerer import Packed, RayAnswerer
from tests.serving.clip import hand_in

FACTS = (
    Fact(kind=FactKind.WHO, subject="person", count=1, time=1.0, score=0.9),
    Fact(kind=FactKind.CHANGE, subject="person", action="appears", time=1.0, score=0.9),
)
PICTURE = np.random.default_rng(0).integers(0, 255, (36, 64, 3), np.uint8)


def request(seed=0):
    return Request(
        facts=FACTS, time=1.0, source="s", frames=(Frame.from_rgb(PICTURE, source="s", index=3, time=1.0),), seed=seed
    )


def test_a_request_travels_whole():
    (frame,) = Packed.of(request()).unpack().frames
    assert (frame.source, frame.index, frame.time) == ("s", 3, 1.0) and np.array_equal(frame.rgb, PICTURE)
    assert Packed.of(request()).unpack().facts == FACTS


@pytest.fixture
def ray():
    return pytest.importorskip(
        "ray", reason="Ray is not installed (pip install 'serval[ray]'), so answers came from one process"
    )


def test_the_same_words_as_here(ray):
    here, there = build_answerer(None), RayAnswerer(None, 2)
    try:
        assert (there.name, there.models) == (here.name, here.models)
        assert [there.answer(request(seed)).text for seed in range(4)] == [here.answer(request(seed)).text for seed in range(4)]
    finally:
        there.close()


def test_a_stream_is_answered_by_the_cluster(ray, serve):
    running = serve(ray="local", answers=2)
    client = running.client()
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    hand_in(client, stream, fps=4, seconds=4)
    client.post(f"/v1/streams/{stream}/stop")
    said = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
    assert said and all(each["answerer"] == "template" for each in said)
