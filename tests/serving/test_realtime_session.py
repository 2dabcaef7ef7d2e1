"""The session's events in their order, settings, items, sound in and out, and what is refused; all by a clock that is given."""

import base64

import numpy as np
import pytest

from serval.assistant.listening.activity import SileroActivity
from serval.assistant.listening.addressed import NamedJudge
from serval.assistant.voice.voice import Voice
from serval.serving.realtime import effects as does
from serval.serving.realtime.limits import RATE, SessionLimits
from serval.serving.realtime.protocol import USUAL
from serval.serving.realtime.response import AHEAD
from serval.serving.realtime.sound import Outgoing
from serval.serving.realtime.telephone import expand
from serval.weights import PartMissing, locate
from tests.serving.realtime_session import Talk, b64, tone

WRITTEN = (
    "response.created rate_limits.updated response.output_item.added conversation.item.added response.content_part.added "
    "response.output_text.delta response.output_text.delta response.output_text.done response.content_part.done "
    "response.output_item.done conversation.item.done response.done"
).split()


def test_a_written_answer_is_told_in_the_order_that_clients_know():
    talk = Talk()
    talk.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
    (asked,) = talk.ask("What is it?", metadata={"mine": "1"})
    assert [(each.role, each.text) for each in asked.turns] == [("system", "Be brief."), ("user", "What is it?")]
    talk.answer(asked, "A ", "mug.", usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5})
    kinds = talk.kinds()
    assert kinds[: kinds.index("response.created")] == [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert kinds[kinds.index("response.created") :] == WRITTEN
    done = talk.of("response.done")[0]["response"]
    assert done["status"] == "completed" and done["metadata"] == {"mine": "1"} and done["usage"]["total_tokens"] == 5
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "A mug."}]
    assert talk.of("response.output_text.done")[0]["text"] == "A mug."
    assert len({each["event_id"] for each in talk.told}) == len(talk.told)
    (again,) = talk.ask("And?")
    assert [each.text for each in again.turns] == ["Be brief.", "What is it?", "A mug.", "And?"] and again.question == "And?"
    assert [each.data["question"] for each in talk.recorded if each.kind == "answer"] == ["What is it?"]


def test_a_response_of_its_own_leaves_the_conversation_alone():
    talk = Talk()
    given = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Classify: mug"}]}]
    talk.say("Something else")
    talk.send(
        "response.create",
        response={"conversation": "none", "input": given, "instructions": "One word.", "max_output_tokens": 5},
    )
    (asked,) = talk.take(does.Answer)
    assert [each.text for each in asked.turns] == ["One word.", "Classify: mug"] and asked.tokens == 5
    talk.answer(asked, "thing", whole=False)
    done = talk.of("response.done")[0]["response"]
    assert done["status"] == "incomplete" and done["status_details"]["reason"] == "max_output_tokens"
    assert len(talk.session.conversation) == 1


def test_settings_change_only_where_they_are_given():
    talk = Talk()
    talk.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}})
    shown = talk.of("session.updated")[0]["session"]
    assert shown["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    talk.send("session.update", session={"id": "mine", "instructions": "x", "audio": {"input": {"transcription": {}}}})
    shown = talk.of("session.updated")[1]["session"]
    assert shown["audio"]["input"]["turn_detection"]["threshold"] == 0.7 and shown["id"].startswith("sess_")
    assert shown["audio"]["input"]["transcription"]["model"] == "whisper" and shown["instructions"] == "x"
    talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    assert talk.of("session.updated")[2]["session"]["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"output_modalities": ["audio"]}, "session.output_modalities"),
        ({"output_modalities": ["text", "audio"]}, "session.output_modalities"),
        ({"tools": [{"type": "function", "name": "f"}]}, "session.tools"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format"),
        ({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}, "session.audio.input.turn_detection.type"),
        ({"audio": 5}, "session.audio"),
        ({"instructions": "x" * 8001}, "session.instructions"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused_and_change_nothing(session, param):
    talk = Talk()
    before = talk.session.settings
    talk.send("session.update", event_id="mine", session=session)
    error = talk.told[-1]["error"]
    assert talk.told[-1]["type"] == "error" and error["param"] == param and talk.session.settings == before
    assert error["event_id"] == "mine"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[" * 10_000, "invalid_json"),
        ("[]", "invalid_value"),
        ("1", "invalid_value"),
        ("{}", "invalid_event"),
        ('{"type": "nothing.such"}', "invalid_event"),
        ('{"type": 5}', "invalid_event"),
        ('{"type": "input_audio_buffer.append", "audio": "&"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_value"),  # a sample and a half
        ('{"type": "input_audio_buffer.append"}', "invalid_value"),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
        ('{"type": "conversation.item.retrieve", "item_id": "x"}', "item_not_found"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "item_not_found"),
        ('{"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 1}', "item_not_found"),
        ('{"type": "conversation.item.create", "item": {"type": "function_call"}}', "invalid_value"),
        ('{"type": "response.cancel"}', "response_cancel_not_active"),
        ('{"type": "response.create", "response": {"output_modalities": ["audio"]}}', "voice_missing"),
    ],
)
def test_what_cannot_be_done_is_an_error_and_the_session_goes_on(text, code):
    talk = Talk()
    talk.raw(text)
    assert talk.error == code
    (asked,) = talk.ask()
    talk.answer(asked, "Yes.")
    assert talk.of("response.done")[0]["response"]["status"] == "completed"


def test_an_error_names_the_event_it_is_about():
    talk = Talk()
    talk.raw('{"type": "conversation.item.delete", "item_id": "x", "event_id": "e1"}')
    assert talk.told[-1]["error"]["event_id"] == "e1"
    talk.raw('{"type": "conversation.item.delete", "event_id": "e2"}')
    assert talk.told[-1]["error"]["event_id"] == "e2"


def test_items_are_placed_fetched_deleted_and_no_more_than_so_many():
    talk = Talk(limits=SessionLimits(items=3))
    for text in "abc":
        talk.say(text)
    first, _, third = (each["item"]["id"] for each in talk.of("conversation.item.added"))
    talk.send("conversation.item.retrieve", item_id=first)
    assert talk.told[-1]["item"]["content"] == [{"type": "input_text", "text": "a"}]
    talk.send("conversation.item.delete", item_id=first)
    item = {"type": "message", "role": "system", "id": "mine", "content": [{"type": "input_text", "text": "d"}]}
    talk.send("conversation.item.create", item=item, previous_item_id="root")
    assert talk.of("conversation.item.added")[-1]["previous_item_id"] is None
    talk.send("conversation.item.create", item=item)
    assert talk.error == "item_exists"
    talk.send("conversation.item.create", item={**item, "id": "other"}, previous_item_id="nothing")
    assert talk.error == "item_not_found"
    talk.say("e")
    assert [each["item_id"] for each in talk.of("conversation.item.deleted")] == [first, "mine"]
    assert talk.of("conversation.item.added")[-1]["previous_item_id"] == third and len(talk.session.conversation) == 3


def test_one_answer_at_a_time_and_it_can_be_cancelled():
    talk = Talk()
    (asked,) = talk.ask()
    talk.follow(talk.session.words(asked.response, "A long", talk.now))
    talk.send("response.create")
    assert talk.error == "conversation_already_has_active_response"
    talk.send("response.cancel", response_id=asked.response)
    done = talk.of("response.done")[0]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert done["output"][0]["status"] == "incomplete" and done["output"][0]["content"][0]["text"] == "A long"
    assert [each.response for each in talk.take(does.Cancel)] == [asked.response]
    assert talk.kinds(talk.answer(asked, " way")) == []  # words that come later go nowhere
    (record,) = [each for each in talk.recorded if each.kind == "answer"]
    assert record.text == "A long" and record.data["interrupted"]


def test_an_answer_that_fails_says_so():
    talk = Talk()
    (asked,) = talk.ask()
    talk.answer(asked, failed="the model is not on the server")
    done = talk.of("response.done")[0]["response"]
    assert done["status"] == "failed" and done["status_details"]["error"]["message"] == "the model is not on the server"


def test_too_many_responses_are_refused():
    left = iter([(True, 1), (False, 0)])
    talk = Talk(take=lambda: next(left), per_minute=2)
    talk.answer(*talk.ask(), "Yes.")
    assert talk.of("rate_limits.updated")[0]["rate_limits"][0]["remaining"] == 1
    talk.send("response.create")
    assert talk.error == "rate_limit_exceeded"


# -- sound in ---------------------------------------------------------------------------------------------------------


def test_committed_sound_becomes_an_item_whose_words_are_answered():
    talk = Talk()
    talk.send("session.update", session={"audio": {"input": {"turn_detection": None, "transcription": {}}}})
    talk.hear(tone(1.0))
    talk.send("input_audio_buffer.commit")
    (committed,) = talk.of("input_audio_buffer.committed")
    assert talk.of("conversation.item.added")[0]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    talk.send("response.create")
    assert talk.take(does.Answer) == []  # not before its words are known
    talk.understand("What is it?")
    (words,) = talk.of("conversation.item.input_audio_transcription.completed")
    assert words["transcript"] == "What is it?" and words["item_id"] == committed["item_id"]
    assert words["usage"]["seconds"] == pytest.approx(1.0, abs=0.01)
    (asked,) = talk.take(does.Answer)
    assert asked.question == "What is it?"


def test_sound_waits_no_longer_than_there_is_room():
    talk = Talk(limits=SessionLimits(sound=1.0))
    talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    talk.hear(tone(0.9), step=0.1)
    talk.hear(tone(0.2), step=0.2)
    assert talk.error == "input_audio_buffer_full"
    talk.send("input_audio_buffer.clear")
    talk.hear(tone(0.9), step=0.1)
    assert talk.error is None


def test_what_is_said_is_found_and_answered_without_being_asked():
    talk = Talk()
    talk.hear(np.concatenate([tone(1.0, False), tone(1.0), tone(1.0, False)]))
    (started,), (stopped,) = talk.of("input_audio_buffer.speech_started"), talk.of("input_audio_buffer.speech_stopped")
    assert started["audio_start_ms"] == pytest.approx(1000, abs=40) and stopped["audio_end_ms"] == pytest.approx(2000, abs=40)
    (committed,) = talk.of("input_audio_buffer.committed")
    assert started["item_id"] == stopped["item_id"] == committed["item_id"]
    talk.understand("What is it?")
    (asked,) = talk.take(does.Answer)
    talk.answer(asked, "A mug.")
    assert talk.of("response.done")[0]["response"]["status"] == "completed"


def test_a_cough_is_no_question():
    talk = Talk()
    talk.hear(np.concatenate([tone(0.5, False), tone(0.1), tone(1.0, False)]))
    assert talk.of("input_audio_buffer.speech_stopped") and not talk.of("input_audio_buffer.committed")
    assert not talk.session._floor.arbiter.user


def test_what_is_not_for_serval_is_overheard_and_forgotten():
    talk = Talk(judge=NamedJudge(follow_up=0))
    talk.send("serval.configure", addressed="named")
    said = np.concatenate([tone(0.5), tone(1.0, False)])
    talk.hear(said)
    talk.understand("We should go.")
    assert talk.of("serval.overheard")[0]["transcript"] == "We should go." and talk.take(does.Answer) == []
    assert len(talk.session.conversation) == 0
    talk.hear(said)
    talk.understand("Serval, how many people are there?")
    (asked,) = talk.take(does.Answer)
    assert asked.question == "how many people are there?"


def test_missing_ears_are_told_clearly_and_nothing_waits_for_them():
    talk = Talk()
    talk.hear(np.concatenate([tone(0.5), tone(1.0, False)]))
    (sound,) = talk.take(does.Transcribe)
    talk.follow(talk.session.not_transcribed(sound.item, "part_missing", "speech is not understood here", talk.now))
    (failed,) = talk.of("conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "part_missing" and not talk.session._floor.arbiter.user
    (asked,) = talk.ask("Written")
    assert asked.question == "Written"


def test_too_much_unheard_sound_is_not_taken():
    talk = Talk(limits=SessionLimits(unheard=2))
    talk.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    for _ in range(4):
        talk.hear(tone(0.2))
        talk.send("input_audio_buffer.commit")
    assert len(talk.take(does.Transcribe)) == 2
    assert [each["error"]["code"] for each in talk.of("conversation.item.input_audio_transcription.failed")] == ["busy"] * 2


# -- sound out --------------------------------------------------------------------------------------------------------


def test_a_spoken_answer_comes_no_faster_than_it_is_heard():
    talk = Talk(voice=True)
    (asked,) = talk.ask()
    talk.answer(asked, "A mug. It is ", "red.")
    sentences = [each.text for each in talk.wanted if isinstance(each, does.Speak)]
    assert sentences == ["A mug.", "It is red."]
    talk.voice(1.0)
    sent = len(talk.of("response.output_audio.delta"))
    assert 0 < sent <= (AHEAD + 0.1) * 10 + 1e-9
    talk.wait(1.0)
    assert len(talk.of("response.output_audio.delta")) <= (1.0 + AHEAD + 0.1) * 10 + 1e-9
    talk.wait(1.5)
    kinds = talk.kinds()
    assert kinds.count("response.output_audio.delta") == 20
    tail = ["response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done"]
    assert kinds[-6:] == [*tail, "response.output_item.done", "conversation.item.done", "response.done"]
    assert "".join(each["delta"] for each in talk.of("response.output_audio_transcript.delta")) == "A mug. It is red."
    first = kinds.index("response.output_audio.delta")
    assert kinds[first - 1] == "response.output_audio_transcript.delta"
    assert talk.session._floor.arbiter.speaking == ()


def test_speech_stops_an_answer_within_200_ms_of_its_start_and_what_was_said_is_on_record():
    talk = Talk(voice=True)
    (asked,) = talk.ask("Tell me a story")
    talk.answer(asked, "One two three four five six seven eight nine ten.")
    talk.voice(5.0)
    talk.hear(tone(2.0, False))  # it is being spoken meanwhile
    before = talk.now
    for _ in range(10):  # 20 ms of speech at a time, until it has stopped
        talk.hear(tone(0.02))
        if talk.take(does.Cancel):
            break
    else:
        pytest.fail("it was not stopped within 200 ms of speech")
    assert round((talk.now - before) * RATE) <= 0.2 * RATE
    kinds = talk.kinds()
    at = kinds.index("input_audio_buffer.speech_started")
    done = talk.of("response.done")[0]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    assert "response.output_audio.delta" not in kinds[at:]
    assert kinds[at:][-1] == "conversation.item.truncated"
    (cut,) = talk.of("conversation.item.truncated")
    assert cut["audio_end_ms"] == pytest.approx(2000, abs=250) and cut["item_id"] == done["output"][0]["id"]
    said = done["output"][0]["content"][0]["transcript"]
    assert said == "One two three four"  # of ten words in five seconds
    (record,) = [each for each in talk.recorded if each.kind == "answer"]
    assert record.text == said and record.data["interrupted"] and record.data["question"] == "Tell me a story"
    talk.wait(6.0)
    assert talk.kinds()[-1] == "conversation.item.truncated"  # nothing more of it is ever sent
    talk.hear(np.concatenate([tone(0.5), tone(1.0, False)]))
    talk.understand("And then?")
    (again,) = talk.take(does.Answer)
    assert [each.text for each in again.turns] == [USUAL, "Tell me a story", said, "And then?"]


@pytest.mark.parametrize("step", [0.02, 0.1])
def test_a_real_voice_is_noticed_in_time_by_the_real_detector(step):
    """From the first sample of a word to the end of the answer's sound, in samples of the stream."""
    for part, file in (("silero", "silero.onnx"), ("hibari", "hibari.onnx")):
        try:
            locate(part, file)
        except PartMissing as missing:
            pytest.skip(f"optional: {missing}")
    word = np.concatenate(list(Voice.open().speak("Stop! Wait a moment, please.")))
    starts = int(np.argmax(np.abs(word) > 0.05 * np.abs(word).max()))
    sound = np.concatenate([tone(1.0, False), np.round(word * 32767).astype(np.int16)])
    talk = Talk(voice=True, activity=SileroActivity)
    talk.answer(*talk.ask("Tell me a story"), "One two three four five six seven eight nine ten.")
    talk.voice(5.0)
    size, heard = round(step * RATE), 0
    while heard < len(sound) and not talk.take(does.Cancel):
        talk.hear(sound[heard : heard + size], step)
        heard += size
    assert 0 < heard - (RATE + starts) <= 0.2 * RATE


def test_the_last_words_can_be_interrupted_although_they_were_sent():
    talk = Talk(voice=True)
    (asked,) = talk.ask()
    talk.answer(asked, "One two three four five.")
    talk.voice(1.0)
    talk.wait(0.88)  # all is sent, and 200 ms of it are not heard yet
    assert talk.of("response.done")[0]["response"]["status"] == "completed"
    talk.hear(tone(0.06))
    (cut,) = talk.of("conversation.item.truncated")
    assert cut["audio_end_ms"] < 1000 and talk.recorded[-1].data["interrupted"]
    talk.send("conversation.item.retrieve", item_id=cut["item_id"])
    assert talk.told[-1]["item"]["content"][0]["transcript"] == "One two three four"


def test_who_does_not_want_to_be_interrupted_is_not():
    talk = Talk(voice=True)
    vad = {"type": "server_vad", "interrupt_response": False, "create_response": False}
    talk.send("session.update", session={"audio": {"input": {"turn_detection": vad}}})
    talk.answer(*talk.ask(), "One two three.")
    talk.voice(2.0)
    talk.hear(np.concatenate([tone(1.0), tone(2.0, False)]))
    talk.understand("hm")
    assert talk.of("response.done")[0]["response"]["status"] == "completed" and talk.take(does.Answer) == []


def test_a_client_says_how_much_it_has_heard():
    talk = Talk(voice=True)
    (asked,) = talk.ask()
    talk.answer(asked, "One two three four.")
    talk.voice(4.0)
    talk.wait(3.0)
    item = talk.of("response.output_item.added")[0]["item"]["id"]
    talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=3900)
    assert talk.error == "invalid_value"  # so much was not sent
    talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=2000)
    assert talk.of("conversation.item.truncated")[0]["audio_end_ms"] == 2000
    assert talk.of("response.done")[0]["response"]["status"] == "cancelled"
    talk.send("conversation.item.retrieve", item_id=item)
    assert talk.told[-1]["item"]["content"][0]["transcript"] == "One two"
    talk.say("hm")
    user = talk.of("conversation.item.added")[-1]["item"]["id"]
    talk.send("conversation.item.truncate", item_id=user, content_index=0, audio_end_ms=0)
    assert talk.error == "invalid_value"


def test_a_voice_that_fails_says_so():
    talk = Talk(voice=True)
    talk.answer(*talk.ask(), "One.")
    (sentence,) = talk.take(does.Speak)
    talk.follow(talk.session.spoken(sentence.response, sentence.number, talk.now, "speech is off"))
    assert talk.of("response.done")[0]["response"]["status_details"]["error"]["code"] == "voice_failed"


# -- what happens -----------------------------------------------------------------------------------------------------


def utterance(name, text):
    return {"type": "serval.utterance", "stream": "s", "event": {"id": name, "text": text, "data": {}}}


def test_what_the_watch_says_is_told_and_spoken_where_that_is_wanted():
    talk = Talk(voice=True)
    talk.follow(talk.session.told(utterance("a", "A dog."), talk.now))
    assert talk.of("serval.utterance")[0]["event"]["text"] == "A dog." and not talk.of("response.created")
    talk.send("serval.configure", speak_alerts=True)
    talk.follow(talk.session.told(utterance("b", "A cat."), talk.now, 2))
    talk.voice(1.0)
    talk.wait(1.5)
    done = talk.of("response.done")[0]["response"]
    assert done["metadata"] == {"serval": "alert"} and done["output"][0]["content"][0]["transcript"] == "A cat."


def test_an_urgent_alert_interrupts_the_answer_and_others_wait_for_its_end():
    talk = Talk(voice=True)
    talk.send("serval.configure", speak_alerts=True)
    talk.answer(*talk.ask(), "One two three four five six.")
    talk.voice(3.0)
    talk.wait(1.0)
    talk.follow(talk.session.told(utterance("a", "A dog."), talk.now, 1))
    assert not talk.take(does.Cancel) and talk.told[-1]["decision"] == "hold"
    talk.follow(talk.session.told(utterance("b", "Fire!"), talk.now, 9))
    assert talk.of("response.done")[0]["response"]["status"] == "cancelled"
    talk.voice(1.0)
    talk.wait(1.5)
    talk.voice(1.0)
    talk.wait(1.5)
    spoken = [each["response"]["output"][0]["content"][0]["transcript"] for each in talk.of("response.done")[1:]]
    assert spoken == ["Fire!", "A dog."]
    kinds = [each.data["decision"] for each in talk.recorded if each.kind == "decision"]
    assert kinds == ["speak", "hold", "interrupt", "speak", "speak"]


def test_what_was_recorded_by_the_session_itself_does_not_come_back():
    talk = Talk()
    event = {"type": "serval.source", "stream": "s", "event": {"id": "x", "text": "", "data": {"session": "sess_0"}}}
    assert talk.session.settings.id == "sess_0" and talk.follow(talk.session.told(event, talk.now)) == []


def test_a_silent_client_is_let_go():
    talk = Talk(limits=SessionLimits(idle=10.0))
    talk.wait(9.0, step=0.5)
    assert talk.closed is None and talk.session.next_due() == pytest.approx(10.0, abs=0.1)
    talk.wait(2.0, step=0.5)
    assert talk.closed == 4408 and talk.error == "session_idle"


def test_sound_of_an_item_is_heard_and_pictures_are_not():
    talk = Talk()
    content = [{"type": "input_audio", "audio": b64(tone(0.5))}]
    talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    talk.understand("Hello.")
    talk.send("response.create")
    assert talk.take(does.Answer)[0].question == "Hello."
    content = [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]
    talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    assert talk.error == "invalid_value"


@pytest.mark.parametrize(("kind", "law"), [("audio/pcmu", "mu"), ("audio/pcma", "a")])
def test_by_telephone_somebody_is_heard_and_answered(kind, law):
    talk, line = Talk(voice=True), Outgoing(law)
    sound = {"format": {"type": kind}}
    talk.send("session.update", session={"type": "realtime", "audio": {"input": sound, "output": sound}})
    shown = talk.of("session.updated")[0]["session"]["audio"]
    assert shown["input"]["format"] == shown["output"]["format"] == {"type": kind}
    for piece in np.array_split(np.concatenate([tone(1.0), tone(1.0, loud=False)]), 100):
        talk.now += len(piece) / RATE
        talk.send("input_audio_buffer.append", audio=line.written(piece))
    assert talk.of("input_audio_buffer.speech_started") and talk.of("input_audio_buffer.speech_stopped")
    talk.understand("What is it?")
    (asked,) = talk.take(does.Answer)
    talk.answer(asked, "A mug.")
    talk.voice(1.0)
    talk.wait(2.0)
    data = b"".join(base64.b64decode(each["delta"]) for each in talk.of("response.output_audio.delta"))
    heard = expand(data, law).astype(float) / 32768
    assert len(data) == 8_000 and np.sqrt(np.mean(heard[200:] ** 2)) == pytest.approx(8000 / 32768 / 2**0.5, rel=0.03)
    assert talk.of("response.done")[0]["response"]["status"] == "completed"

    talk.send(
        "session.update", session={"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}}
    )
    assert talk.of("session.updated")[1]["session"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_an_item_by_telephone_is_as_long_as_it_is():
    talk = Talk()
    talk.send("session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    part = {"type": "input_audio", "audio": Outgoing("mu").written(tone(0.5))}
    talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": [part]})
    (sound,) = talk.take(does.Transcribe)
    assert len(sound.samples) == pytest.approx(8_000, abs=2)
