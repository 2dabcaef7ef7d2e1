"""A source's sound to answers: only what was for Serval is answered, a question cuts an answer short, and nothing else does."""

import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from serval.assistant.answers.answer import Answer
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.ask.answering import Reply
from serval.assistant.event import Event, EventKind
from serval.assistant.listening import build
from serval.assistant.listening.activity import CHUNK, RATE
from serval.assistant.listening.addressed import NamedJudge
from serval.assistant.listening.answering import Questions, SpokenAnswer
from serval.assistant.listening.listener import Listener
from serval.assistant.replay import replay
from serval.assistant.timeline.timeline import Timeline
from serval.assistant.watch_options import WatchOptions
from serval.assistant.watching import Watching
from serval.data.worlds.requests import formants
from serval.media.sound_track import Block
from serval.refusal import Refusal

SPEECH, PAUSE = [0.9] * 30, [0.0] * 30  # about a second each


class Track:
    def __init__(self, scores):
        self.wave, self.closed = np.repeat(np.array(scores, np.float32), CHUNK), 0

    def blocks(self):
        for start in range(0, len(self.wave), 1000):
            yield Block(start / RATE, self.wave[start : start + 1000])

    def close(self):
        self.closed += 1


class Scores:
    models = {"speech activity": "scripted"}  # noqa: RUF012

    def score(self, chunk):
        return float(chunk[0])


class Says:
    """What is said, one utterance after the other."""

    models = {"speech recognition": "scripted"}  # noqa: RUF012

    def __init__(self, *words):
        self.left, self.asked = list(words), 0

    def words(self, samples, cancelled=lambda: False):
        self.asked += 1
        return self.left.pop(0)


def listener(*words, answer=None, scores=None, **options):
    events, asked = [], []

    def plainly(question, cancelled):
        asked.append(question)
        return SpokenAnswer(Reply(f"About {question}"))

    made = Listener(
        Track([*PAUSE, *(SPEECH + PAUSE) * len(words)] if scores is None else scores),
        source="clip",
        activity=Scores(),
        recogniser=Says(*words),
        judge=NamedJudge(follow_up=0),
        answer=answer or plainly,
        publish=events.append,
        **options,
    )
    return made, events, asked


@pytest.mark.parametrize("threaded", [False, True])
def test_only_what_is_for_it_is_answered(threaded):
    heard, events, asked = listener("We should go.", "Serval, what happened?", "", threaded=threaded)
    heard.until(100.0)
    heard.close()
    heard.close()
    assert heard.heard == {"addressed": 1, "not addressed": 1, "no words": 1, "dropped": 0} and asked == ["what happened?"]
    (event,) = events
    assert event.kind is EventKind.ANSWER and event.text == "About what happened?" and event.source == "clip"
    assert event.data["heard"] == "Serval, what happened?" and event.t_start == pytest.approx(90 * 0.032)
    assert event.t_end <= event.said_at and event.models["speech recognition"] == "scripted" and heard._track.closed == 1


def test_it_hears_no_further_than_the_pictures_are():
    heard, events, _ = listener("Serval, one", "Serval, two")
    heard.until(2.2)
    assert not events
    heard.until(2.6)
    assert len(events) == 1
    heard.close()


def test_an_utterance_that_the_end_cuts_off_is_answered_too():
    heard, events, _ = listener("Serval, what happened?", scores=[*PAUSE, *SPEECH])
    heard.until(100.0)
    assert not events
    heard.close()
    assert len(events) == 1


class Slow:
    """Answers the first question until it is cancelled, polling between tokens; ``told`` says when it has begun."""

    def __init__(self):
        self.begun, self.go, self.polls, self.order = threading.Event(), threading.Event(), 0, []

    def __call__(self, question, cancelled):
        self.order.append(question)
        if question == "one":
            self.begun.set()
            while not cancelled() and not self.go.wait(0.001):
                self.polls += 1
        return SpokenAnswer(Reply(f"About {question}"))


@pytest.mark.parametrize(("second", "told"), [("Serval, two", ["About two"]), ("We should go.", ["About one"])])
def test_a_question_cancels_the_answer_under_way_and_talk_does_not(second, told):
    slow = Slow()
    heard, events, _ = listener("Serval, one", second, answer=slow, threaded=True)
    heard.until(3.0)
    assert slow.begun.wait(10)
    heard.until(100.0)
    if told == ["About one"]:
        while heard.heard["not addressed"] == 0:
            slow.begun.wait(0.001)
        slow.go.set()
    heard.close()
    assert [event.text for event in events] == told and slow.order[0] == "one"


def test_what_cannot_be_understood_in_time_is_dropped_and_counted():
    block = threading.Event()

    class Stuck(Says):
        def words(self, samples, cancelled=lambda: False):
            block.wait(10)
            return super().words(samples)

    heard, events, _ = listener(*["Serval, what happened?"] * 9, threaded=True)
    heard._recogniser = Stuck(*["Serval, what happened?"] * 9)
    heard.until(100.0)
    block.set()
    heard.close()
    assert heard.heard["dropped"] >= 3 and heard.heard["addressed"] == 9 - heard.heard["dropped"] and events


@pytest.mark.parametrize("threaded", [False, True])
def test_an_answer_that_fails_loses_itself_alone(threaded):
    def fails(question, cancelled):
        if question == "one":
            raise RuntimeError("out of memory")
        return SpokenAnswer(Reply(question))

    heard, events, _ = listener("Serval, one", "Serval, two", answer=fails, threaded=threaded)
    heard.until(100.0)
    heard.close()
    assert [event.text for event in events] in (["two"], [])[: 2 if threaded else 1]


class TestQuestions:
    class Sees:
        name = "vision-language"
        models = {}  # noqa: RUF012

        def answer(self, request, cancelled=lambda: False):
            self.request = request
            return Answer("Something happened.", self.name, unverified="A red kite.")

    def test_what_the_record_does_not_know_is_asked_of_who_sees_pictures(self):
        class Frame:
            time, source = 3.0, "clip"

        sees = self.Sees()
        questions = Questions(sees, lambda noun: ())
        assert not questions.answer("where is the kite?").reply.known and not hasattr(sees, "request")  # nothing was seen yet
        questions._newest = Frame()
        found = questions.answer("where is the kite?")
        assert (found.by, found.unverified) == ("vision-language", "A red kite.") and not found.reply.known
        assert sees.request.question == "where is the kite?" and len(sees.request.frames) == 1

    def test_without_one_it_says_that_it_does_not_know(self):
        found = Questions(TemplateAnswerer(), lambda noun: ()).answer("where is the kite?")
        assert found.by == "ask" and not found.reply.known and "kite" in found.reply.text

    def test_what_was_said_can_be_asked_for(self):
        questions = Questions(TemplateAnswerer(), lambda noun: ())
        spoke = {"source": "clip", "t_start": 1.0, "t_end": 1.0, "said_at": 1.0}
        questions.told(Event(id="a", text="A cup.", **spoke))
        questions.told(Event(id="b", text="clip opened", kind=EventKind.SOURCE, **spoke))
        reply = questions.answer("what did you say?").reply
        assert "A cup." in reply.text and "opened" not in reply.text


def write(path, wave):
    """Six seconds of grey with this sound."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=4)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        voice = out.add_stream("pcm_s16le", rate=RATE, layout="mono") if wave is not None else None
        for number in range(24):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90 + number, np.uint8), format="rgb24")))
        out.mux(video.encode())
        for start in range(0, 0 if wave is None else len(wave), 1600):
            part = (wave[None, start : start + 1600] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            out.mux(voice.encode(frame))
    return path


class TestWatch:
    @pytest.fixture
    def clip(self, tmp_path):
        wave = np.random.default_rng(0).normal(0, 0.003, 6 * RATE).astype(np.float32)
        for start in (1.0, 3.5):
            said = formants("what is three plus one", 0)
            wave[round(start * RATE) :][: len(said)] += said
        return write(tmp_path / "clip.mkv", wave)

    @pytest.mark.parametrize("pace", ["fast", "realtime"])
    def test_a_question_in_the_sound_of_a_clip_is_answered_on_the_timeline(self, clip, tmp_path, monkeypatch, pace):
        monkeypatch.setattr(build, "WhisperRecogniser", lambda: Says("We should go.", "Serval, what did you say?"))
        monkeypatch.setattr(build, "best_activity", build_spectral)
        told, run = [], tmp_path / "run"
        options = WatchOptions((str(clip),), tell=("say when a cat appears",), listen=True, run=run, pace=pace)
        summary = Watching(options, on_event=told.append).run()
        assert summary.heard["addressed"] == summary.heard["not addressed"] == 1 and summary.said == 0
        (event,) = [each for each in told if each.kind is EventKind.ANSWER]
        assert event.text == "I said nothing." and event.data["question"] == "what did you say?"
        assert event.t_start == pytest.approx(3.5, abs=0.15)
        with Timeline.open(run, write=False) as timeline:
            assert event in list(timeline.events(kind=EventKind.ANSWER))
        assert replay(run).identical

    def test_a_clip_without_sound_and_a_missing_part_are_refused_before_anything_is_written(self, clip, tmp_path, monkeypatch):
        mute = write(tmp_path / "mute.mkv", None)
        with pytest.raises(Refusal, match=r"--listen to mute: there is no sound in it"):
            Watching(WatchOptions((str(mute),), listen=True, run=tmp_path / "run"))
        monkeypatch.setenv("SERVAL_CACHE", str(tmp_path / "empty"))
        with pytest.raises(Refusal, match="run: serval weights fetch"):
            Watching(WatchOptions((str(clip),), listen=True, run=tmp_path / "run"))
        assert not (tmp_path / "run").exists()


def build_spectral():
    from serval.assistant.listening.activity import SpectralActivity

    return SpectralActivity()
