"""Answers and gates from a Ray cluster on this machine: the same as from this process."""

from types import SimpleNamespace

import numpy as np
import pytest

from serval.assistant.answers.answer import Request
from serval.assistant.answers.build import build_answerer
from serval.assistant.event import Fact, FactKind
from serval.assistant.gates import build
from serval.assistant.instructions.understand import understand
from serval.assistant.meaning import embedder
from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.serving.ray_answerer import Packed, RayAnswerer
from serval.serving.ray_cluster import RayCluster
from serval.serving.ray_gates import Asked, RayGate, RayGates
from tests.serving.clip import hand_in
from tests.systems.test_gate import TEXT, follow, view

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


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip(
        "ray", reason="Ray is not installed (pip install 'serval[ray]'), so answers and gates came from one process"
    )


@pytest.fixture(scope="module")
def cluster(ray):
    made = RayCluster()
    yield made
    made.close()


def test_the_same_words_as_here(cluster):
    here, there = build_answerer(None), RayAnswerer(cluster, None, 2)
    assert (there.name, there.models) == (here.name, here.models)
    assert [there.answer(request(seed)).text for seed in range(4)] == [here.answer(request(seed)).text for seed in range(4)]


@pytest.fixture(scope="module")
def gates(cluster):
    return RayGates(cluster, 2, patience=60)


@pytest.fixture(scope="module")
def learned(gates):
    if embedder() is None:
        pytest.skip("the text embedding is off (serval weights fetch minilm)")
    return gates("learned", understand(TEXT), text=TEXT)


class TestGates:
    def test_the_same_scores_as_here(self, learned):
        views = [view(number) for number in range(40)]
        here = build("learned", understand(TEXT), text=TEXT)
        assert (learned.name, learned.threshold) == (here.name, here.threshold)
        (_, there), (_, scores) = follow(learned, views), follow(here, views)
        assert there == scores and len(set(scores)) > 6

    def test_a_state_can_be_gone_on_with_twice(self, learned):
        state, _ = follow(learned, [view(number) for number in range(12)])
        assert learned.step(state, view(12))[1] == learned.step(state, view(12))[1]

    def test_what_is_refused_there_is_refused_here_in_the_same_line(self, gates):
        asked = understand("tell me when there are more than three people")
        for builder in (build, gates):
            with pytest.raises(Refusal, match="it was not taught instructions about counts; leave out the gate for this one"):
                builder("learned", asked, text="tell me when there are more than three people")

    def test_gates_that_were_not_taught_stay_here(self, gates):
        assert type(gates("novelty", understand(TEXT), text=TEXT)) is type(build("novelty", understand(TEXT)))


class Gone:
    """A call to a cluster that went away after it had opened the gate."""

    def __init__(self, *given):
        self._given = given

    def result(self, timeout_s):
        if not self._given:
            raise ConnectionError
        return self._given

    def cancel(self):
        pass


def test_where_no_score_comes_nothing_is_said_and_the_watch_goes_on(caplog):
    calls = {"about": Gone("learned", 0.5), "step": Gone()}
    handle = SimpleNamespace(**{name: SimpleNamespace(remote=lambda *_, call=call: call) for name, call in calls.items()})
    gate = RayGate(handle, Asked("learned", understand(TEXT), TEXT), 1.0)
    state, score = gate.step(("what was",), view(1))
    assert state == gate.start() and score.value == 0 and score.why == "the cluster gave no score"
    assert "ConnectionError" in caplog.text


def test_a_stream_is_answered_by_the_cluster(ray, serve):
    running = serve(ray="local", answers=2, gate="learned" if embedder() else None)
    client = running.client()
    stream = client.post("/v1/streams", json={"instructions": ["describe every new scene"]}).json()["id"]
    hand_in(client, stream, fps=4, seconds=4)
    client.post(f"/v1/streams/{stream}/stop")
    said = client.get("/v1/timeline", params={"stream": stream, "kind": "utterance"}).json()
    assert all(each["answerer"] == "template" for each in said)
    assert client.get("/v1/why", params={"stream": stream, "time": 2.0}).json()
