"""Whatever comes, in whatever order: the session neither breaks nor hangs, tells only what clients know, and holds no more."""

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serval.serving.realtime import effects as does
from serval.serving.realtime.limits import SessionLimits
from serval.serving.realtime.protocol import KNOWN
from tests.serving.realtime_session import Talk, tone

LIMITS = SessionLimits(sound=2.0, items=6, unheard=2, idle=1e6)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
FIELDS = [
    *"event_id session audio item item_id previous_item_id content_index audio_end_ms response response_id".split(),
    *"stream text priority limit kind".split(),
]


class Client(RuleBasedStateMachine):
    """A client who does as he likes, and a service whose parts are as fast or slow as they like."""

    @initialize(voice=st.booleans())
    def opens(self, voice):
        self.talk = Talk(voice=voice, limits=LIMITS)
        self.voiced = voice
        self.answers, self.sentences, self.sounds = [], [], []
        self.number = self.checked = 0
        self.ended, self.speaking = set(), None

    def gather(self):
        self.answers += self.talk.take(does.Answer)
        self.sentences += self.talk.take(does.Speak)
        self.sounds += self.talk.take(does.Transcribe)
        self.talk.take(does.Cancel | does.Ask | does.Gates)

    @rule(kind=st.sampled_from(sorted(KNOWN)), fields=st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
    def sends_something(self, kind, fields):
        self.talk.raw(json.dumps({"type": kind, **fields}))
        self.gather()

    @rule(text=st.text(max_size=40) | values.map(json.dumps))
    def sends_anything(self, text):
        before = len(self.talk.told)
        self.talk.raw(text)
        assert "error" in [each["type"] for each in self.talk.told[before:]]

    @rule(vad=st.sampled_from([None, {"type": "server_vad"}, {"type": "server_vad", "interrupt_response": False}]))
    def configures(self, vad):
        self.talk.send("session.update", session={"audio": {"input": {"turn_detection": vad}}})
        self.talk.send("serval.configure", speak_alerts=vad is None or "interrupt_response" not in vad)

    @rule(text=st.sampled_from(["What?", "Serval, how many?", ""]), written=st.booleans())
    def asks(self, text, written):
        self.talk.say(text)
        self.talk.send("response.create", **({"response": {"output_modalities": ["text"]}} if written else {}))
        self.gather()

    @rule(seconds=st.sampled_from([0.02, 0.3, 0.7]), loud=st.booleans(), step=st.sampled_from([0.02, 0.3]))
    def sounds_come(self, seconds, loud, step):
        self.talk.hear(tone(seconds, loud), step)
        self.gather()

    @rule(kind=st.sampled_from(["input_audio_buffer.commit", "input_audio_buffer.clear", "response.cancel"]))
    def presses(self, kind):
        self.talk.send(kind)
        self.gather()

    @rule(kind=st.sampled_from(["delete", "retrieve", "truncate"]), number=st.integers(0, 9), ms=st.integers(0, 1500))
    def changes(self, kind, number, ms):
        items = [each["item"]["id"] for each in self.talk.of("conversation.item.added")]
        fields = {"content_index": 0, "audio_end_ms": ms} if kind == "truncate" else {}
        self.talk.send(f"conversation.item.{kind}", item_id=items[number] if number < len(items) else "none", **fields)
        self.gather()

    @precondition(lambda self: self.answers)
    @rule(how=st.sampled_from(["more", "done", "failed", "long"]))
    def is_answered(self, how):
        asked = self.answers[0]
        if how == "more":
            self.talk.follow(self.talk.session.words(asked.response, "A mug. And ", self.talk.now))
        else:
            self.answers.pop(0)
            failed = "it failed" if how == "failed" else ""
            self.talk.answer(asked, "more", failed=failed, whole=how != "long")
        self.gather()

    @precondition(lambda self: self.sentences)
    @rule(seconds=st.sampled_from([0.0, 0.05, 0.8]), failed=st.sampled_from(["", "", "", "it failed"]))
    def is_voiced(self, seconds, failed):
        each = self.sentences.pop(0)
        session = self.talk.session
        self.talk.follow(session.sound(each.response, each.number, tone(seconds), self.talk.now))
        self.talk.follow(session.spoken(each.response, each.number, self.talk.now, failed))

    @precondition(lambda self: self.sounds)
    @rule(words=st.sampled_from(["", "What is it?", None]))
    def is_understood(self, words):
        item, session = self.sounds.pop(0).item, self.talk.session
        if words is None:
            self.talk.follow(session.not_transcribed(item, "part_missing", "it is not here", self.talk.now))
        else:
            self.talk.follow(session.transcribed(item, words, 1.0, self.talk.now))
        self.gather()

    @rule(urgency=st.integers(-10, 10))
    def is_told(self, urgency):
        self.number += 1
        event = {"id": str(self.number), "text": "A dog.", "data": {}}
        self.talk.follow(self.talk.session.told({"type": "serval.utterance", "event": event}, self.talk.now, urgency))
        self.gather()

    @rule(seconds=st.sampled_from([0.02, 0.5, 30.0]))
    def waits(self, seconds):
        self.talk.wait(seconds, step=seconds / 5)
        self.gather()

    @invariant()
    def each_response_ends_once_and_one_speaks(self):
        for each in self.talk.told[self.checked :]:
            name = each.get("response_id") or each.get("response", {}).get("id")
            if name is not None and not each["type"].startswith("serval."):
                assert name not in self.ended, each["type"]
            if each["type"] == "response.output_item.added":
                assert self.speaking is None, "two voices"
                self.speaking = name
            if each["type"] == "response.output_audio.delta":
                assert name == self.speaking
            if each["type"] == "response.done":
                self.ended.add(name)
                self.speaking = None if self.speaking == name else self.speaking
        self.checked = len(self.talk.told)

    @invariant()
    def it_holds_no_more_than_it_may(self):
        session = self.talk.session
        assert len(session.conversation) <= LIMITS.items
        assert len(session._floor.arbiter.waiting) <= session._floor.arbiter.most and len(session._floor._open) <= 4
        assert session._listening._ear._count <= LIMITS.sound * 16_000 and 0 <= session._listening._unheard <= LIMITS.unheard
        assert not session._outbox._effects

    def teardown(self):
        if not hasattr(self, "talk"):
            return
        talk = self.talk
        talk.send("input_audio_buffer.clear")
        self.gather()
        while self.sounds:
            self.is_understood("")
        talk.send("session.update", session={"output_modalities": ["text"]})
        talk.wait(2 * 130.0, step=5.0)  # what speaks is given up, then what waited for it until its last moment
        self.gather()  # whatever was wanted never comes, and yet nothing hangs
        (asked,) = talk.ask("Are you there?")
        talk.answer(asked, "Yes.")
        done = talk.of("response.done")[-1]["response"]
        assert done["status"] == "completed" and done["output"][0]["content"][0]["text"] == "Yes."


TestClient = Client.TestCase
TestClient.settings = settings(max_examples=60, stateful_step_count=40)
