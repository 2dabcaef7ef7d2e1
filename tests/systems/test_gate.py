"""A streaming system decides when the watcher speaks: causally, without a memory outside its state, and for hours."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch

from serval.assistant.gates import build
from serval.assistant.instructions.understand import understand
from serval.assistant.replay import replay
from serval.assistant.view import Scene, Track, View
from serval.assistant.view_tokens import PLACE, PLACES, SCENE
from serval.cli import main
from serval.data import photo_streams
from serval.data.photo_streams import Request, WatchedStream
from serval.encoders.percept import Percept
from serval.language.live_stream import LiveStream
from serval.media.box import Box
from serval.refusal import Refusal
from serval.systems import offer_gates
from serval.systems.assistants import lion_fs, videollm_online
from serval.systems.assistants.lion_fs_photos import FRAMES, Known, chances, dimmed, lessons, recipe
from serval.systems.gate import SINKS
from serval.systems.saved import save_system
from serval.training.objectives.balance import SPEAK

TEXT = "tell me when a dog comes in"
DOG = Request(TEXT, "appears", ((12.0, "dog appears"),))
NOTHING = Request("say what happens", "everything", ())


def watched(seed, *requests, frames=60):
    random = torch.Generator().manual_seed(seed)
    scene, places = torch.randn(frames, SCENE, generator=random), torch.rand(frames, PLACES, PLACE, generator=random)
    return WatchedStream(torch.arange(frames) / 2, scene.half(), places.half(), requests)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "photo_streams.safetensors"
    photo_streams.write(path, [watched(seed, DOG, NOTHING) for seed in range(4)])
    return path


def drawn(made, std):
    """Numbers large enough that mistakes show."""
    model = made.model(torch.device("cpu"))
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A system whose numbers are large enough that what it sees shows in its decisions."""
    made = recipe(data=data, steps=1, batch=2)
    model = drawn(made, 0.3)
    folder = tmp_path_factory.mktemp("runs") / "photos"
    made.save(model, folder)
    return folder


@pytest.fixture(scope="module")
def gate(folder):
    offer_gates()
    return build(f"system:{folder}", understand(TEXT), text=TEXT)


def view(number, seed=0):
    random = np.random.default_rng((seed, number))
    luma = random.integers(0, 255, (36, 64)).astype(np.uint8)
    left, top = random.uniform(0, 0.6, 2)
    track = Track(1, "dog", 0.9, Box(left, top, left + 0.3, top + 0.3), 0.0, number / 8, True)
    feature = random.normal(size=SCENE).astype(np.float32) if number % 4 == 0 else None
    return View(Percept("door", number, number / 8, luma, feature=feature), 0.1, (track,), (), scene=Scene(1, 0.0))


def follow(gate, views):
    state, scores = gate.start(), []
    for each in views:
        state, score = gate.step(state, each)
        scores.append(score.value)
    return state, scores


class TestGate:
    def test_a_level_that_changes_twice_a_second(self, gate):
        _, scores = follow(gate, [view(number) for number in range(48)])
        assert all(0 <= each <= 1 for each in scores) and 0 < gate.threshold < 1
        assert scores[:4] == [0.0] * 4  # nobody has asked at the first frame
        assert len(set(scores[4:])) > 6 and all(len(set(scores[at : at + 4])) == 1 for at in range(4, 48, 4))

    def test_a_state_can_be_gone_on_with_twice(self, gate):
        state, _ = follow(gate, [view(number) for number in range(20)])
        once = [gate.step(state, view(20))[1] for _ in range(2)]
        assert once[0] == once[1]
        other = gate.step(state, view(20, seed=1))[1]
        assert other.value != once[0].value

    def test_a_state_can_travel_and_is_no_larger_than_its_memory(self, gate):
        state, _ = follow(gate, [view(number) for number in range(20)])
        packed = pickle.dumps(state)
        assert gate.step(pickle.loads(packed), view(20))[1] == gate.step(state, view(20))[1]
        memory = sum(
            each.keys.untyped_storage().nbytes() + each.values.untyped_storage().nbytes() for each in state.cache.stores
        )
        assert len(packed) < 1.2 * memory + 200_000

    def test_the_future_changes_no_score(self, gate):
        same, other = ([view(number, seed=seed if number >= 24 else 0) for number in range(40)] for seed in (0, 1))
        before, after = follow(gate, same)[1], follow(gate, other)[1]
        assert before[:24] == after[:24] and before[24:] != after[24:]

    def test_what_is_asked_counts(self, folder, gate):
        other = build(f"system:{folder}", understand(TEXT), text="describe every new scene")
        views = [view(number) for number in range(40)]
        assert follow(gate, views)[1] != follow(other, views)[1]

    def test_its_memory_has_a_budget(self, gate, monkeypatch):
        monkeypatch.setattr("serval.systems.gate.RECENT", 200)
        state, scores = follow(gate, [view(number) for number in range(4 * 30)])
        held = [store.held for store in state.cache.stores]
        assert state.cache.length > 300 and max(held) <= SINKS + 200
        assert len(set(scores[-40:])) > 2 and all(np.isfinite(scores))

    def test_what_it_decides_is_what_it_was_taught_to_decide(self, data):
        """Frame by frame by its own words, which are none where it stays silent, or in one pass as lessons are read."""
        stream = watched(9, NOTHING, frames=16)
        known = Known.of([stream, stream])
        sample = stream.sample(NOTHING, known.tokenizer.encode, 0)
        model = drawn(recipe(data=data), 0.12)
        passed = chances(model, sample)
        live, found = LiveStream(model.fast, 1000), [0.0]
        for number, frame in enumerate(model.frames(sample.features)):
            decision = live.see(frame)
            if number == 0:
                live.told("user", sample.words[0].ids)
            else:
                found.append(float(decision.p_speak))
        torch.testing.assert_close(torch.tensor(found), passed, atol=1e-5, rtol=1e-4)


class TestRecipe:
    def test_lessons_are_the_same_for_a_seed_and_mostly_hold_what_is_due(self, data):
        known = Known.of(photo_streams.read(data))
        drawn = [lessons(known, 6, seed=seed)._make(0)["streams"] for seed in (1, 1, 2)]
        order = [[each.features[1][0, 0, 0].item() for each in made] for made in drawn]
        assert order[0] == order[1] != order[2]
        made = [each for number in range(20) for each in lessons(known, 6, 0)._make(number)["streams"]]
        assert {len(each) for each in made} == {60}
        long = Known.of([watched(0, DOG, frames=FRAMES + 40), watched(1, DOG, frames=FRAMES + 40)])
        stretches = lessons(long, 8, 0)._make(0)["streams"]
        assert {len(each) for each in stretches} == {FRAMES}
        assert len({each.features[1][0, 0, 0].item() for each in stretches}) > 4
        assert sum(SPEAK in each.decisions for each in made) > len(made) / 4  # half of the requests are of nothing

    def test_blind_eyes_see_nothing(self):
        stream = watched(0)
        assert not dimmed(stream, "general").scene.any() and dimmed(stream, "general").places.any()
        assert not dimmed(stream, "ego").places.any() and torch.equal(dimmed(stream, "nobody").scene, stream.scene)

    def test_the_threshold_is_kept_with_the_model(self, folder, gate):
        content = json.loads((folder / "system.json").read_text())
        assert gate.threshold == pytest.approx(1 - content["config"]["threshold"])


@pytest.mark.parametrize("wrong", ["missing", "other system", "other eyes", "no tokenizer"])
def test_refuses_what_cannot_be_a_gate_in_one_line(wrong, folder, tmp_path):
    offer_gates()
    if wrong == "other system":
        save_system(videollm_online.SYSTEM.new("tiny"), tmp_path / wrong, "videollm-online")
    elif wrong == "other eyes":
        save_system(lion_fs.SYSTEM.new("tiny"), tmp_path / wrong, "lion-fs")
    elif wrong == "no tokenizer":
        (tmp_path / wrong).mkdir()
        for name in ("system.json", "model.safetensors"):
            (tmp_path / wrong / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(Refusal) as refused:
        build(f"system:{tmp_path / wrong}", understand(TEXT), text=TEXT)
    assert refused.value.remedy and "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)


def test_watches_a_real_clip_and_decides_the_same_again(folder, short, tmp_path, monkeypatch, capsys):
    words = ["watch", str(short), "--gate", f"system:{folder}", "--run", str(tmp_path / "run"), "--json", "--tell", TEXT]
    monkeypatch.setattr(sys, "argv", ["serval", *words])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, capsys.readouterr().err
    assert replay(tmp_path / "run").identical
