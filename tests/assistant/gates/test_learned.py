"""The gate that was taught: it streams as it learnt, nothing later matters, its memory is bounded, bad weights are refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from serval.assistant.gates import build
from serval.assistant.gates.learned import gate as learned
from serval.assistant.gates.learned.gate import THRESHOLD, WEIGHTS, LearnedGate, open_gate, read_weights
from serval.assistant.gates.learned.head import GateHead
from serval.assistant.gates.learned.reader import FIRED, FRAME, INSTRUCTION, Reader, Reading, relevance_of
from serval.assistant.gates.novelty import NoveltyGate
from serval.assistant.gates.objects import ObjectsGate
from serval.assistant.instructions.instruction import Target, Understanding
from serval.assistant.view import Change, ChangeKind, Scene, Track, View
from serval.encoders.labels import COCO
from serval.encoders.percept import Detection, Hand, Percept
from serval.media.box import Box
from serval.refusal import Refusal

LUMA = np.zeros((36, 64), np.uint8)
ASKED = Understanding(target=Target.OBJECTS, kinds=(ChangeKind.APPEARS,), labels=("dog",), gate="objects", read_back="")
RANDOM = np.random.default_rng(0)
SENTENCE = RANDOM.normal(size=384).astype(np.float32) / 384**0.5
RELEVANCE = relevance_of(SENTENCE, RANDOM.normal(size=(80, 384)).astype(np.float32))


def head(body="gru"):
    made = GateHead(body)
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    return made.requires_grad_(False)


def reader(asked=ASKED):
    return Reader(asked, SENTENCE, RELEVANCE, ObjectsGate(asked))


def moment(time, seed, *, looked=True):
    """What is known at ``time``; all of it drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 0.5, 2)
    box, label = Box(x, y, x + 0.3, y + 0.4), ["dog", "cat", "vehicle"][rng.integers(3)]
    scores = rng.uniform(size=80).astype(np.float32)
    percept = Percept("door", round(time * 8), time, LUMA)
    if looked:
        seen = (Detection(box, scores),)
        hands = (Hand(box, 0.7),) if rng.integers(2) else ()
        feature = rng.normal(size=1280).astype(np.float32)
        percept = Percept("door", round(time * 8), time, LUMA, feature=feature, detections=seen, hands=hands)
    tracks = (Track(1, label, 0.8, box, max(0.0, time - 3), time, bool(rng.integers(2))),)
    changes = (Change(ChangeKind.APPEARS, time, time - 0.4, label, 0.7, track=1),) if looked and rng.integers(2) else ()
    return View(percept, float(rng.uniform()), tracks, changes, bool(rng.integers(2)), Scene(1, 0.0, novelty=0.2))


STREAMS = st.lists(
    st.tuples(st.sampled_from([0.125, 0.25, 0.5, 2.0]), st.integers(0, 999), st.booleans()), min_size=1, max_size=20
)


def views(drawn):
    times = np.cumsum([gap for gap, _, _ in drawn])
    return [moment(float(time), seed, looked=looked) for time, (_, seed, looked) in zip(times, drawn, strict=True)]


def stepped(gate, seen):
    state, scores = gate.start(), []
    for view in seen:
        state, score = gate.step(state, view)
        scores.append(score)
    return scores


@pytest.mark.parametrize("body", ["gru", "window"])
class TestHead:
    @settings(max_examples=15)
    @given(drawn=STREAMS)
    def test_streamed_is_what_all_at_once_gives(self, body, drawn):
        seen, network, reads = views(drawn), head(body), reader()
        scores = stepped(LearnedGate(network, reads, 0.5), seen)
        state, frames, places = reads.start(), [], []
        for place, view in enumerate(seen):
            if reads.due(state, view):
                state, frame = reads.read(state, view)
                frames, places = [*frames, frame], [*places, place]
        asked = torch.from_numpy(reads.instruction)[None]
        logits, _ = network(torch.from_numpy(np.stack(frames))[None], asked)
        together = torch.sigmoid(logits[0]).tolist()
        held = [
            next((p for p, at in zip(together[::-1], places[::-1], strict=True) if at <= place), 0.0)
            for place in range(len(seen))
        ]
        assert [score.value for score in scores] == pytest.approx(held, abs=1e-4)  # scores are told to four digits

    def test_a_change_at_any_moment_changes_no_score_before_it(self, body):
        generator, network = torch.Generator().manual_seed(2), head(body)
        frames, asked = torch.randn(1, 40, FRAME, generator=generator), torch.randn(1, INSTRUCTION, generator=generator)
        before, _ = network(frames, asked)
        for at in (0, 7, 39):
            other = frames.clone()
            other[:, at] += 3
            after, _ = network(other, asked)
            assert torch.equal(after[:, :at], before[:, :at]) and after[0, at] != before[0, at]

    def test_remembers_no_more_after_hours(self, body):
        gate = LearnedGate(head(body), reader(), 0.5)

        def size(state):
            own = sum(each.nbytes for each in (state.reading.feature, state.reading.usual))
            return own + sum(each.numel() * each.element_size() for each in state.body), len(state.recent)

        state, sizes = gate.start(), []
        for number in range(400):  # three hours and more, a look every half a minute
            state, score = gate.step(state, moment(30.0 * number, number % 20))
            sizes.append(size(state))
            assert 0 <= score.value <= 1
        assert len({each for each, _ in sizes}) == 1 and max(recent for _, recent in sizes) <= 16
        assert sizes[0][0] < 200_000

    def test_a_new_one_speaks_when_the_untaught_gate_does(self, body):
        seen, rule = [moment(0.5 * each, each) for each in range(40)], ObjectsGate(ASKED)
        fired = [score.value >= rule.threshold for score in stepped(rule, seen)]
        level = [score.value >= 0.5 for score in stepped(LearnedGate(GateHead(body), reader(), 0.5), seen)]
        assert any(fired) and not all(level)
        assert level == [any(fired[max(0, place - 2) : place + 1]) for place in range(len(seen))]  # for a second

    def test_starts_anew_for_each_source(self, body):
        gate, seen = LearnedGate(head(body), reader(), 0.5), [moment(0.5 * each, each) for each in range(8)]
        assert stepped(gate, seen) == stepped(gate, seen)


@settings(max_examples=15)
@given(drawn=STREAMS, other=STREAMS, data=st.data())
def test_decisions_do_not_depend_on_what_comes_later(drawn, other, data):
    gate, until = LearnedGate(head(), reader(), 0.5), data.draw(st.integers(0, len(drawn)))
    assert stepped(gate, views([*drawn[:until], *other]))[:until] == stepped(gate, views(drawn))[:until]


class TestReader:
    def test_reads_looks_and_now_and_then_the_time(self):
        reads, state = reader(), Reading()
        assert reads.due(state, moment(0.0, 1, looked=False))
        state, _ = reads.read(state, moment(0.0, 1, looked=False))
        assert not reads.due(state, moment(0.375, 1, looked=False))
        assert reads.due(state, moment(0.375, 1)) and reads.due(state, moment(0.5, 1, looked=False))

    def test_the_same_moment_reads_otherwise_for_another_thing(self):
        seen = moment(1.0, 3)
        _, dog = reader().read(Reading(), seen)
        _, cat = reader(ASKED.model_copy(update={"labels": ("cat",)})).read(Reading(), seen)
        assert dog.shape == cat.shape == (FRAME,) and np.isfinite(dog).all() and not np.array_equal(dog, cat)

    def test_an_unchanged_scene_looks_as_usual(self):
        reads, state, seen = reader(), Reading(), moment(1.0, 3)
        unlike = slice(9, 11)  # the look before, and what is usual
        state, first = reads.read(state, seen)
        state, second = reads.read(state, seen)
        _, third = reads.read(state, moment(2.0, 4))
        assert np.abs([first[unlike], second[unlike]]).max() < 1e-5 and third[unlike].min() > 0.1

    def test_what_the_untaught_gate_said_stands_for_a_second(self):
        reads, state, stood = reader(), reader().start(), []
        change = Change(ChangeKind.APPEARS, 1.0, 0.6, "dog", 0.8)
        for number in range(8):
            view = View(moment(0.5 * number, 1).percept, 0.1, changes=(change,) if number == 2 else ())
            state, frame = reads.read(state, view)
            stood.append(frame[FIRED])
        assert stood == [0, 0, 1, 1, 1, 0, 0, 0]

    def test_texts_are_shown_to_those_who_ask_for_them(self):
        text = Change(ChangeKind.TEXT, 1.0, 1.0, score=0.9, text="TAXI")
        seen = View(Percept("door", 8, 1.0, LUMA, text=()), 0.1, changes=(text,))
        sign = Understanding(target=Target.TEXT, kinds=(ChangeKind.TEXT,), gate="text", read_back="")
        assert reader(sign).fitting.changes(seen) == (text,) and reader().fitting.changes(seen) == ()
        everything = Understanding(target=Target.EVERYTHING, gate="everything", read_back="")
        assert reader(everything).fitting.changes(seen) == ()

    def test_relevance_is_highest_for_the_nearest_name(self):
        names = np.eye(80, 384, dtype=np.float32)
        near = relevance_of(names[COCO.index("dog")], names)
        assert COCO[int(near.argmax())] == "dog" and near.mean() == pytest.approx(0, abs=1e-5)


def test_what_just_happened_is_what_is_spoken_of():
    gate = LearnedGate(head(), reader(), 0.5)
    change = Change(ChangeKind.APPEARS, 1.0, 0.6, "dog", 0.8)
    other = Change(ChangeKind.LEAVES, 1.0, 0.6, "dog", 0.8)
    state, score = gate.step(gate.start(), View(moment(1.0, 1).percept, 0.1, changes=(change, other)))
    assert score.because == (change,)
    state, score = gate.step(state, moment(2.5, 2, looked=False))
    assert score.because == (change,)
    assert gate.step(state, moment(3.5, 2, looked=False))[1].because == ()


class TestWeights:
    @pytest.fixture
    def tensors(self):
        return {name: each.clone() for name, each in head().state_dict().items()} | {THRESHOLD: torch.tensor(0.4)}

    @pytest.mark.parametrize("body", ["gru", "window"])
    def test_come_back(self, body, tmp_path):
        save_file(head(body).state_dict() | {THRESHOLD: torch.tensor(0.4)}, tmp_path / "gate.safetensors")
        network, threshold = read_weights(tmp_path / "gate.safetensors")
        assert threshold == pytest.approx(0.4)
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), head(body).parameters(), strict=True))

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda t: t.pop("speak.bias"), "speak.bias is missing"),
            (lambda t: t.pop(THRESHOLD), "threshold is missing"),
            (lambda t: t.update({"asked.weight": torch.zeros(2, 2)}), r"asked.weight is 2x2 and should be 32x399"),
            (lambda t: t.update({"more": torch.zeros(1)}), "more is not expected"),
            (lambda t: t.update({"asked.bias": torch.full((32,), math.nan)}), "not those of a gate"),
            (lambda t: t.update({THRESHOLD: torch.tensor(0.0)}), "not those of a gate"),
            (lambda t: t.update({THRESHOLD: torch.tensor(math.nan)}), "not those of a gate"),
            (lambda t: t.update({"asked.bias": torch.zeros(32, dtype=torch.int64)}), "not of floats"),
        ],
    )
    def test_others_are_refused_in_a_line(self, tensors, spoil, said, tmp_path):
        spoil(tensors)
        save_file(tensors, tmp_path / "gate.safetensors")
        with pytest.raises(Refusal, match=said) as refused:
            read_weights(tmp_path / "gate.safetensors")
        assert "gate.safetensors" in refused.value.what and "\n" not in str(refused.value)

    @pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"x" * 4000])
    def test_files_of_another_kind_are_refused(self, content, tmp_path):
        (tmp_path / "gate.safetensors").write_bytes(content)
        with pytest.raises(Refusal):
            read_weights(tmp_path / "gate.safetensors")
        (tmp_path / "cut.safetensors").write_bytes(WEIGHTS.read_bytes()[:-100])
        with pytest.raises(Refusal, match="cut off"):
            read_weights(tmp_path / "cut.safetensors")
        with pytest.raises(Refusal, match="missing"):
            read_weights(tmp_path / "none.safetensors")


class TestShipped:
    def test_is_small_and_plain(self):
        assert WEIGHTS.stat().st_size < 1_000_000
        assert all(each.dtype == torch.float32 for each in load_file(WEIGHTS).values())
        assert WEIGHTS.with_name("MODEL_CARD.md").exists()

    def test_scores_what_it_did_when_it_was_made(self):
        network, threshold = read_weights(WEIGHTS)
        scores = [
            score.value for score in stepped(LearnedGate(network, reader(), threshold), [moment(0.5 * n, n) for n in range(6)])
        ]
        assert [round(threshold, 2), *scores] == pytest.approx(GOLDEN, abs=2e-3)

    def test_is_built_by_its_name_and_from_a_file(self, asks, tmp_path):
        asked = asks("objects", kinds=["appears"], labels=("dog",))
        for name in ("learned", f"learned:{WEIGHTS}"):
            gate = build(name, asked, text="tell me when a dog comes in")
            assert gate.name == "learned" and 0 < gate.threshold < 1
        with pytest.raises(Refusal, match="missing or cannot be read"):
            build(f"learned:{tmp_path / 'none'}", asked, text="tell me when a dog comes in")
        with pytest.raises(Refusal, match="no such gate"):
            build("learned:", asked)

    def test_declines_what_it_was_not_taught(self, asks):
        for asked in (asks("likeness"), asks("objects", count_op=">=", count=2)):
            with pytest.raises(Refusal, match="not taught"):
                open_gate("more than two dogs", asked, NoveltyGate())

    def test_needs_the_sentence_encoder(self, asks, monkeypatch):
        monkeypatch.setattr(learned, "embedder", lambda: None)
        learned._embed.cache_clear()
        try:
            with pytest.raises(Refusal, match="serval weights fetch minilm"):
                open_gate("tell me when a dog comes in", asks("objects"), None)
        finally:
            learned._embed.cache_clear()


GOLDEN = [0.6, 0.2888, 0.9132, 0.1795, 0.0065, 0.0082, 0.0054]  # the threshold, then scores
