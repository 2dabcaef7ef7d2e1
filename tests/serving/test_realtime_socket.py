"""The socket against a real service: the stock client's session, keys, frames, instructions, two people, and bad manners."""

import asyncio
import io
import json
import logging
import threading
import time

import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from serval.serving.limits import Limits, Rate
from serval.serving.openai.opened import opened
from serval.serving.realtime.answers import Said
from serval.serving.realtime.limits import SessionLimits
from serval.serving.realtime.parts import Realtime
from serval.weights import PartMissing, locate
from tests.serving.clip import pictures
from tests.serving.realtime_session import Loud, b64, tone


class Scripted:
    """Answers what it was told to, word by word; a question that says "wait" is answered when ``go`` is set."""

    def __init__(self, *words):
        self.words, self.asked, self.cancelled, self.go = words, [], threading.Event(), threading.Event()

    def answer(self, asked, stream, cancelled, on_text):
        self.asked.append(asked)
        for word in self.words:
            on_text(word)
        if "wait" in asked.question:
            while not self.go.wait(0.01):
                if cancelled():
                    self.cancelled.set()
                    return Said()
        return Said(usage={"input_tokens": 1, "output_tokens": len(self.words), "total_tokens": 1 + len(self.words)})


class Says:
    def __init__(self, words):
        self.words_of = words

    def words(self, samples, cancelled):
        if self.words_of is None:
            raise PartMissing("whisper", "whisper", "…")
        return self.words_of


class Hums:
    """A second of sound for each sentence, in blocks."""

    def __init__(self):
        self.made = 0

    def speak(self, text, cancelled):
        for _ in range(10):
            if cancelled():
                return
            self.made += 1
            yield tone(0.1)


def script(running, answers=None, words="What is it?", voice=None, **options):
    """Give a service scripted parts."""
    answers = answers or Scripted("A ", "mug.")
    made = Realtime(lambda person: answers, lambda person: Says(words), lambda person: voice, Rate(600), 600, Loud, **options)
    running.parts.parts["realtime"] = made
    return answers


class Socket:
    """A client of nobody's make."""

    def __init__(self, running, key=None, **options):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = running.url.replace("http", "ws") + "/v1/realtime?model=serval"
        self.line = connect(url, additional_headers=headers, open_timeout=20, max_size=None, close_timeout=0.5, **options)
        self.told = []
        self.session = self.until("session.created")["session"]["id"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.line.close()

    def send(self, kind, /, **fields):
        self.line.send(json.dumps({"type": kind, **fields}))

    def until(self, *kinds, **fields):
        """The next event of a kind with these fields."""
        while True:
            event = json.loads(self.line.recv(timeout=60))
            self.told.append(event)
            if event["type"] in kinds and all(event.get(name) == value for name, value in fields.items()):
                return event

    def came(self):
        """Events that are there by now."""
        fresh = []
        while True:
            try:
                fresh.append(json.loads(self.line.recv(timeout=0.01)))
            except TimeoutError:
                self.told += fresh
                return fresh

    def ask(self, text):
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        self.send("conversation.item.create", item=item)
        self.send("response.create")


def client_of(running, key="none"):
    return openai.AsyncOpenAI(api_key=key, base_url=f"{running.url}/v1")


def test_the_stock_client_talks_with_the_real_model(service):
    opened(service.parts).speaker()  # now, so that the first answer does not wait for it

    async def talk():
        async with client_of(service) as client, client.realtime.connect(model="serval") as line:
            assert (await line.recv()).type == "session.created"
            await line.session.update(session={"type": "realtime", "output_modalities": ["text"], "max_output_tokens": 24})
            content = [{"type": "input_text", "text": "What is the capital of France?"}]
            await line.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            await line.response.create()
            text, kinds = "", []
            async for event in line:
                kinds.append(event.type)
                assert event.type != "error", event
                if event.type == "response.output_text.delta":
                    text += event.delta
                if event.type == "response.done":
                    break
            return text, event.response, kinds

    text, response, kinds = asyncio.run(talk())
    assert "Paris" in text and response.status == "completed" and response.output[0].content[0].text == text
    assert response.usage.output_tokens > 0 and response.usage.input_tokens > 5
    assert "session.updated" in kinds and "conversation.item.done" in kinds


def test_the_stock_client_speaks_and_is_spoken_to(service):
    script(service, voice=Hums())

    async def talk():
        async with client_of(service) as client, client.realtime.connect(model="serval") as line:
            session = (await line.recv()).session
            assert session.output_modalities == ["audio"]
            sound = np.concatenate([tone(0.5), tone(0.7, False)])
            await line.session.update(session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper"}}}})
            for at in range(0, len(sound), 2400):
                await line.input_audio_buffer.append(audio=b64(sound[at : at + 2400]))
            heard, spoken, kinds = "", b"", []
            async for event in line:
                kinds.append(event.type)
                assert event.type != "error", event
                if event.type == "conversation.item.input_audio_transcription.completed":
                    heard = event.transcript
                if event.type == "response.output_audio.delta":
                    spoken += event.delta.encode()
                if event.type == "response.done":
                    break
            return heard, spoken, kinds, event.response

    heard, spoken, kinds, response = asyncio.run(talk())
    assert heard == "What is it?" and len(spoken) * 3 // 4 >= 24_000 * 2 * 0.99
    assert response.output[0].content[0].transcript == "A mug."
    assert "input_audio_buffer.speech_started" in kinds and "input_audio_buffer.speech_stopped" in kinds


def test_a_question_that_is_spoken_is_heard_answered_and_spoken_by_real_parts(service):
    for part, file in (("whisper", "model.safetensors"), ("silero", "silero.onnx"), ("hibari", "hibari.onnx")):
        try:
            locate(part, file)
        except PartMissing as missing:
            pytest.skip(f"optional: {missing}")
    models = opened(service.parts)
    models.ears()
    models.speaker()
    question = np.concatenate(list(models.voice().speak("What is the capital of France?")))
    sound = np.concatenate([tone(0.3, False), np.round(question * 32767).astype(np.int16), tone(1.0, False)])
    with Socket(service) as line:
        line.send("session.update", session={"audio": {"input": {"transcription": {}}}, "max_output_tokens": 24})
        for at in range(0, len(sound), 2400):
            line.send("input_audio_buffer.append", audio=b64(sound[at : at + 2400]))
        words = line.until("conversation.item.input_audio_transcription.completed")
        assert "capital of france" in words["transcript"].lower()
        done = line.until("response.done")["response"]
    said = done["output"][0]["content"][0]
    assert done["status"] in ("completed", "incomplete") and "Paris" in said["transcript"]
    samples = sum(len(each["delta"]) * 3 // 8 for each in line.told if each["type"] == "response.output_audio.delta")
    assert samples > 24_000 // 2


def test_keys_come_by_header_or_subprotocol_and_not_otherwise(serve, key):
    anna, hall = key("anna", "ask"), key("hall", "watch")
    running = serve()
    script(running)
    url = running.url.replace("http", "ws") + "/v1/realtime"
    with Socket(running, anna):
        pass
    with connect(url, subprotocols=["realtime", f"openai-insecure-api-key.{anna}"]) as line:
        assert line.subprotocol == "realtime" and json.loads(line.recv())["type"] == "session.created"
    for headers, status in (({}, 401), ({"Authorization": "Bearer no"}, 401), ({"Authorization": f"Bearer {hall}"}, 403)):
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    with Socket(running, anna) as line:  # may ask, and neither look nor instruct
        line.send("serval.instruction.add", text="tell me when a person comes in", event_id="e1")
        assert line.until("error")["error"]["code"] == "not_allowed"
        line.line.send(b"picture")
        assert line.until("error")["error"]["code"] == "not_allowed"


def test_another_persons_stream_is_not_there(serve, key):
    anna, ben = key("anna"), key("ben")
    running = serve()
    script(running)
    stream = running.client(anna).post("/v1/streams", json={}).json()["id"]
    with Socket(running, ben) as line:
        line.send("serval.attach", stream=stream, event_id="e1")
        error = line.until("error")["error"]
        line.send("serval.attach", stream="nothing", event_id="e1")
        assert line.until("error")["error"] == error and error["code"] == "not_found"
        line.send("serval.timeline.query")
        assert line.until("error")["error"]["code"] == "not_now"
    with Socket(running, anna) as line:
        line.send("serval.attach", stream=stream)
        assert line.until("serval.attached")["stream"] == stream
    assert running.hub.alive(stream).over is False  # it is not the session's own


def test_what_is_shown_is_watched_told_and_asked_about(service, detector):
    with Socket(service) as line:
        line.send("serval.instruction.add", text="tell me when a person comes in", priority=3, event_id="e1")
        joined = line.until("serval.joined")
        assert joined["own"] is True
        added = line.until("serval.instruction.added")
        assert added["in_reply_to"] == "e1" and "person" in added["instruction"]["read_back"]
        line.until("serval.stream", state="watching")
        line.send("serval.configure", gates=True)
        said = gates = None
        for _, jpeg in [each for _ in range(5) for each in pictures(fps=8)]:
            line.line.send(jpeg)
            time.sleep(0.1)
            came = line.came()
            said = said or next((each for each in came if each["type"] == "serval.utterance"), None)
            gates = gates or next((each for each in came if each["type"] == "serval.gates" and each["scores"]), None)
            if said and gates:
                break
        assert said is not None and said["event"]["evidence"] and "person" in said["event"]["text"].lower()
        assert gates is not None and list(gates["scores"]) == ["person-comes-in"]
        line.send("session.update", session={"output_modalities": ["text"]})
        line.ask("how many people were there?")
        evidence = line.until("serval.evidence")
        assert evidence["known"] and evidence["evidence"]
        done = line.until("response.done")["response"]
        assert done["status"] == "completed" and done["output"][0]["content"][0]["text"]
        line.send("serval.timeline.query", kind="utterance", event_id="e2")
        found = line.until("serval.timeline")
        assert found["in_reply_to"] == "e2" and said["event"]["id"] in [each["id"] for each in found["events"]]
        line.send("serval.why", time=said["event"]["t_end"])
        assert line.until("serval.why")["explained"]["moments"]
        line.send("serval.instruction.list")
        (held,) = line.until("serval.instruction.listed")["instructions"]
        line.send("serval.instruction.remove", instruction=held["id"])
        line.until("serval.instruction.removed")
    stream = service.hub.alive(joined["stream"])
    stream._thread.join(30)
    assert stream.over  # its own stream ends with the session
    kept = service.client().get("/v1/timeline", params={"stream": joined["stream"]}).json()
    answers = [each for each in kept if each["kind"] == "answer"]
    assert [each["data"]["question"] for each in answers] == ["how many people were there?"]
    assert any(each["data"].get("decision") == "speak" for each in kept)


def test_a_frame_that_cannot_be_read_now_is_dropped_with_its_reason(service):
    script(service)
    with Socket(service) as line:
        line.line.send(b"no picture")
        assert line.until("serval.frame.dropped")["reason"] == "opening"
        line.until("serval.stream", state="watching")
        line.line.send(b"no picture")
        assert line.until("serval.frame.dropped")["reason"] == "it is no picture of a known kind"
        file = io.BytesIO()
        Image.new("RGB", (320, 240)).save(file, "WEBP")
        for _ in range(30):
            line.line.send(file.getvalue())
        assert line.until("serval.frame.dropped")["reason"] == "busy"


def test_speech_cancels_the_answer_that_is_being_thought_of(service):
    answers = script(service, Scripted("A long "))
    with Socket(service) as line:
        line.ask("wait for it")
        line.until("response.output_text.delta")
        line.send("input_audio_buffer.append", audio=b64(tone(0.2)))
        done = line.until("response.done")["response"]
        assert done["status_details"]["reason"] == "turn_detected"
        assert answers.cancelled.wait(30)


def test_who_goes_away_has_nothing_done_for_him(service):
    answers = script(service, Scripted("A long "))
    with Socket(service) as line:
        line.ask("wait for it")
        line.until("response.output_text.delta")
    assert answers.cancelled.wait(30)


def test_a_voice_is_no_further_ahead_than_it_must_be(service):
    voice = Hums()
    script(service, Scripted(*["One. "] * 60), voice=voice)
    with Socket(service) as line:
        line.ask("Tell me a lot")
        for _ in range(5):
            line.until("response.output_audio.delta")
        line.send("response.cancel")
        line.until("response.done")
        sent = sum(each["type"] == "response.output_audio.delta" for each in line.told)
    assert voice.made <= sent + 50  # blocks of 100 ms, of 600 in all


def test_missing_ears_are_a_clear_event(service):
    script(service, words=None)
    with Socket(service) as line:
        line.send("input_audio_buffer.append", audio=b64(np.concatenate([tone(0.5), tone(0.7, False)])))
        failed = line.until("conversation.item.input_audio_transcription.failed")
        assert failed["error"]["code"] == "part_missing" and "/" not in failed["error"]["message"]
        line.send("session.update", session={"output_modalities": ["audio"]})
        assert line.until("error")["error"]["code"] == "voice_missing"
        line.ask("Written?")
        assert line.until("response.done")["response"]["status"] == "completed"


def test_an_answerer_that_breaks_tells_nothing_of_itself(service):
    class Broken:
        def answer(self, asked, stream, cancelled, on_text):
            raise RuntimeError("/secret/path")

    script(service, Broken())
    with Socket(service) as line:
        line.ask("What?")
        done = line.until("response.done")["response"]
        assert done["status"] == "failed" and "secret" not in json.dumps(line.told)


def test_bad_manners_end_in_an_error_or_a_close_and_never_in_silence(serve):
    running = serve(limits=Limits(message=100_000))
    script(running, limits=SessionLimits(idle=1e6))
    with Socket(running) as line:
        for text in ("", "{", "null", '{"type": "x"}', "\x00", json.dumps({"type": "response.create", "response": 5})):
            line.line.send(text)
            line.until("error")
        line.send("input_audio_buffer.append", audio="A" * 90_000)  # as large as may be, and beside the loop
        line.ask("Still there?")
        assert line.until("response.done")["response"]["status"] == "completed"
        line.send("input_audio_buffer.append", audio="A" * 200_000)
        with pytest.raises(ConnectionClosed) as closed:
            line.until("nothing")
        assert closed.value.rcvd.code == 1009
    with Socket(running):
        pass  # others are not touched


VAD = {"audio": {"input": {"turn_detection": None}}}
SENT = {
    "frame": b"\xff\xd8 no picture",
    "nothing": b"",
    "junk": '{"type":',
    "unknown": '{"type": "response.explode"}',
    "wrong": '{"type": "response.create", "response": {"output_modalities": [1]}}',
    "ask": '{"type": "response.create"}',
    "cancel": '{"type": "response.cancel"}',
    "speech": json.dumps({"type": "input_audio_buffer.append", "audio": b64(tone(0.3))}),
    "silence": json.dumps({"type": "input_audio_buffer.append", "audio": b64(tone(0.9, False))}),
    "odd": '{"type": "input_audio_buffer.append", "audio": "AAAA"}',
    "commit": '{"type": "input_audio_buffer.commit"}',
    "by hand": json.dumps({"type": "session.update", "session": VAD}),
    "timeline": '{"type": "serval.timeline.query"}',
    "attach": '{"type": "serval.attach", "stream": "x"}',
    "gates": '{"type": "serval.configure", "gates": true, "speak_alerts": true}',
}


def test_in_any_order_there_is_an_answer_and_nothing_breaks(service, caplog):
    script(service, Scripted("A ", "mug."), voice=Hums())

    @settings(max_examples=20)
    @given(st.lists(st.sampled_from(sorted(SENT)), max_size=12), st.booleans())
    def talk(names, polite):
        line = Socket(service)
        for name in names:
            line.line.send(SENT[name])
        if polite:
            line.send("session.update", event_id="last", session={"instructions": "Still there?"})
            line.until("session.updated")
            assert not [each for each in line.told if each.get("error", {}).get("type") == "server_error"]
            line.line.close()
        else:
            line.line.socket.close()  # without a word

    talk()
    while service.parts.door.sockets.taken:
        time.sleep(0.01)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    while not all(each.over for each in list(service.hub._streams.values())):  # a session takes its own stream along
        time.sleep(0.01)


def test_an_idle_session_is_closed_with_a_reason(service):
    script(service, limits=SessionLimits(idle=0.3))
    with Socket(service) as line:
        assert line.until("error")["error"]["code"] == "session_idle"
        with pytest.raises(ConnectionClosed) as closed:
            line.until("nothing")
        assert closed.value.rcvd.code == 4408


def test_a_client_that_never_reads_is_given_up_and_holds_up_nobody(serve):
    running = serve(limits=Limits(idle=1.0))
    script(running, Scripted(*["word " * 20_000] * 200))  # 20 MB: more than lies in between
    with Socket(running, compression=None) as mute, Socket(running) as line:
        mute.ask("Tell me a lot")
        line.send("session.update", session={"instructions": "x"})
        line.until("session.updated")
        taken = running.parts.door.sockets
        for _ in range(600):
            if taken.taken == 1:
                break
            time.sleep(0.05)
        assert taken.taken == 1
        line.send("session.update", session={"instructions": "y"})
        assert line.until("session.updated")["session"]["instructions"] == "y"


def test_no_task_or_thread_outlives_its_session(service):
    script(service)
    for _ in range(5):
        with Socket(service) as line:
            line.ask("What?")
            line.until("response.done")
    while service.parts.door.sockets.taken:
        time.sleep(0.01)
    names = ("serval-answer", "serval-ear", "serval-voice", "serval-record")
    for thread in threading.enumerate():
        if thread.name in names:
            thread.join(10)
            assert not thread.is_alive(), thread.name
