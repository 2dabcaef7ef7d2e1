"""The real clip from end to end: what is said, when, and on what it rests."""

import threading

import numpy as np
import pytest

from serval.assistant.answers.checker import check
from serval.assistant.event import EventKind
from serval.assistant.replay import replay
from serval.assistant.timeline.recording import Recording
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.watch_options import WatchOptions
from serval.assistant.watching import Watching
from serval.encoders.eyes import PARTS
from serval.weights import model_id


def near(times: list[float], moment: float, tolerance: float = 0.7) -> bool:
    return any(abs(time - moment) <= tolerance for time in times)


class TestBikes:
    def test_says_first_how_it_understood(self, bikes):
        kinds = [event.kind for event in bikes.events]
        assert kinds[:3] == [EventKind.INSTRUCTION] * 3
        assert EventKind.INSTRUCTION not in kinds[3:]
        assert [event.data["text"] for event in bikes.events[:3]] == [
            "describe every new scene",
            "tell me when a person comes in",
            "say when the taxi sign is visible",
        ]
        assert "“taxi”" in bikes.events[2].text

    @pytest.mark.parametrize("moment", [1.3, 3.3, 5.5, 7.5])
    def test_tells_of_each_new_scene(self, bikes, moment):
        assert near(bikes.times("describe-every-new-scene"), moment)

    def test_tells_of_no_more_scenes_than_there_are(self, bikes):
        assert len(bikes.said("describe-every-new-scene")) <= 8

    def test_reads_the_taxi_sign_while_it_is_there(self, bikes):
        said = bikes.said("taxi-sign-visible")
        assert said and all(2.4 <= event.t_end <= 3.4 for event in said)
        assert "“TAXI”" in said[0].text

    @pytest.mark.parametrize("moment", [1.7, 4.6])
    def test_tells_of_people(self, bikes, moment):
        assert near(bikes.times("person-comes-in"), moment)

    def test_every_utterance_rests_on_pictures_that_are_kept(self, bikes):
        assert len(bikes.said()) == bikes.summary.said > 8
        with Recording.open(bikes.folder, write=False) as recording:
            for event in bikes.said():
                assert event.evidence and event.facts
                for each in event.evidence:
                    picture = recording.picture_named(each.frame)
                    assert picture is not None and picture.time == each.time
                    assert event.t_start - 3 <= each.time <= event.t_end
                    assert 0 <= each.score <= 1
                    if each.box is not None:
                        assert 0 <= each.box.left < each.box.right <= 1
                        assert 0 <= each.box.top < each.box.bottom <= 1
                        assert each.label
                own = {each for fact in event.facts for each in fact.evidence}
                assert {each.model_copy(update={"outline": ()}) for each in event.evidence} == own  # drawn when it is told

    def test_every_utterance_says_why_now_and_by_what(self, bikes):
        for event in bikes.said():
            assert event.why_now is not None and event.why_now.policy == "wake" and event.why_now.why
            assert event.why_now.score >= event.why_now.threshold
            assert event.models["objects"] == model_id(PARTS["objects"])
            assert event.answerer == "template" and event.verified and not event.unverified
            assert event.t_start <= event.t_end <= event.said_at

    def test_no_utterance_says_more_than_its_facts(self, bikes):
        assert {event.text: check(event.text, event.facts) for event in bikes.said() if check(event.text, event.facts)} == {}

    def test_everything_told_is_on_the_timeline(self, bikes):
        with Timeline.open(bikes.folder, write=False) as timeline:
            kept = {event.id: event for event in timeline.events()}
        assert kept == {event.id: event for event in bikes.events}

    def test_sums_up(self, bikes):
        summary = bikes.summary
        assert 9.5 < summary.seconds < 10.5 and summary.took > 0
        assert summary.status.waiting == 0 and summary.status.frames == {"bikes": 80}
        assert summary.status.looked["bikes"] < 60
        assert sum(sum(counts.values()) for counts in summary.drops.values()) == 0


@pytest.fixture(scope="module")
def live(short, tmp_path_factory):
    told, blocked = [], threading.Event()
    options = WatchOptions((str(short),), tell=("describe every new scene",), pace="realtime", run=tmp_path_factory.mktemp("r"))

    def tell(event) -> None:
        told.append((threading.current_thread(), event))
        if event.kind == "utterance":
            blocked.set()

    watching = Watching(options, tell)
    slow = watching.watcher._answerer.answer
    held = threading.Event()

    def answer(request, **more):
        held.wait(10)  # longer than the clip: whoever waits for this answer drops every picture
        return slow(request, **more)

    watching.watcher._answerer.answer = answer
    observe = watching.watcher.observe

    def counting(frame):
        view = observe(frame)
        if frame.time > 1.2:
            held.set()  # pictures came and went while the answer was being worked on
        return view

    watching.watcher.observe = counting
    summary = watching.run()
    return watching, summary, told, blocked


class TestRealTime:
    """A short clip as it happens: the machine's own clock, a reader and a desk of their own."""

    def test_pictures_flow_while_an_answer_is_worked_on(self, live):
        _, summary, told, blocked = live
        assert blocked.is_set()
        assert summary.status.frames["short"] >= 3
        said = [event for _, event in told if event.kind == "utterance"]
        assert said and said[0].said_at > said[0].t_end

    def test_words_come_from_the_desk_and_all_else_from_the_loop(self, live):
        _, _, told, _ = live
        assert {thread.name for thread, event in told if event.kind == "utterance"} == {"serval-desk"}
        loop = {thread for thread, event in told if event.kind == "instruction"}
        assert loop == {threading.current_thread()} or len(loop) == 1

    def test_every_picture_was_used_dropped_with_a_reason_or_thinned_out(self, live):
        watching, summary, told, _ = live
        dropped = sum(summary.drops["short"].values())
        assert set(summary.drops["short"]) <= {"busy", "late"}
        assert summary.status.frames["short"] + dropped + watching.feed.thinned["short"] == 23
        notes = [event.data["drops"] for _, event in told if event.data.get("note") == "dropped"]
        assert sum(sum(each.values()) for each in notes) == dropped

    def test_it_replays_as_it_was(self, live):
        _, summary, _, _ = live
        difference = replay(summary.folder)
        assert difference.identical, [
            (pair.left.text, pair.right.text, pair.differs) for pair in difference.pairs if pair.differs
        ]

    def test_no_thread_is_left(self, live):
        _, _, told, _ = live
        assert not any(thread.is_alive() for thread, event in told if event.kind == "utterance")
        assert "serval-short" not in {thread.name for thread in threading.enumerate()}


def test_stopping_keeps_what_was_told(short, tmp_path):
    told = []
    options = WatchOptions((str(short),), tell=("describe every new scene",), run=tmp_path / "run")
    watching = Watching(options, lambda event: (told.append(event), watching.stop() if event.facts else None))
    summary = watching.run()
    assert summary.said == 1 and summary.seconds < 1.8
    with Timeline.open(tmp_path / "run", write=False) as timeline:
        assert [event.id for event in timeline.events()] == [event.id for event in told]
    watching.close()  # once more does no harm


def test_an_annotated_video_is_written_beside(watched, film, tmp_path):
    clip = film(tmp_path / "in.mp4", [np.full((90, 160, 3), 40 + 20 * index, np.uint8) for index in range(6)], fps=8)
    watched(tmp_path / "run", clip, tell=("describe every new scene",), video=tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").stat().st_size > 500
    assert (tmp_path / "in.mp4").exists()


def test_one_part_that_cannot_end_keeps_no_other_open(short, tmp_path, monkeypatch):
    watching = Watching(WatchOptions(sources=(str(short),), run=tmp_path / "run", tell=("describe every new scene",)))
    closed = []
    for name in ("feed", "recording", "timeline"):
        part = getattr(watching, name)
        ours = part.close
        monkeypatch.setattr(part, "close", lambda name=name, ours=ours: (closed.append(name), ours()))

    def broken():
        raise OSError("no room")

    monkeypatch.setattr(watching.watcher, "finish", broken)
    with pytest.raises(OSError, match="no room"):
        watching.close()
    assert closed == ["feed", "recording", "timeline"]
