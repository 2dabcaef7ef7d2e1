"""One realtime session: events, sound and words in, effects out. It has no socket, no thread and no clock of its own.

Every method takes the time in seconds, on any clock that only goes forward, and gives what is to be done, in order.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from serval.assistant.listening.activity import Activity, Utterance, best_activity
from serval.assistant.listening.addressed import Judge, NamedJudge
from serval.serving.realtime import protocol as asked
from serval.serving.realtime.conversation import Conversation, Entry, text_of
from serval.serving.realtime.effects import (
    Ask,
    Close,
    Effect,
    Gates,
    Outbox,
)
from serval.serving.realtime.floor import Floor
from serval.serving.realtime.limits import SessionLimits
from serval.serving.realtime.listening import Listening
from serval.serving.realtime.protocol import Settings, Unreadable, Wanted
from serval.serving.realtime.responses import Responses, Took, always
from serval.serving.realtime.told import (
    Error,
    ErrorTold,
    ItemTold,
    NotTranscribed,
    ServerEvent,
    SessionTold,
    Transcribed,
    own,
)
from serval.serving.realtime.update import merged


class Session:
    """See the module.

    Args:
        voice: whether responses can be spoken.
        activity: makes what finds speech in sound.
        judge: whether something that was said is for Serval, when the client wants that asked.
        take: see `responses.Took`.
        per_minute: of responses, as clients are told.
    """

    def __init__(
        self,
        *,
        voice: bool = False,
        activity: Callable[[], Activity] = best_activity,
        judge: Judge | None = None,
        limits: SessionLimits | None = None,
        take: Took = always,
        per_minute: int = 1,
        new_id: Callable[[str], str] = lambda kind: f"{kind}_{secrets.token_hex(10)}",
    ) -> None:
        self._judge, self._limits, self._new_id = judge or NamedJudge(), limits or SessionLimits(), new_id
        self.settings = Settings(id=new_id("sess"), output_modalities=("audio" if voice else "text",))
        self._outbox = Outbox()
        self.conversation = Conversation(self._limits.items, self._outbox)
        self._floor = Floor(self.settings.id, self.conversation, self._outbox, new_id)
        self._listening = Listening(self.conversation, self._floor, self._outbox, self._limits, activity, new_id)
        self._listening.configure(self.settings.audio.input, 0.0)
        self._own = {"speak_alerts": False, "addressed": "always", "gates": False}
        self._responses = Responses(
            self.conversation, self._floor, self._outbox, self._limits, new_id, voice=voice, take=take, per_minute=per_minute
        )
        self._now = self._seen = 0.0

    # -- what comes ---------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """The client is there."""
        self._now = self._seen = now
        self._outbox.send(SessionTold(type="session.created", session=self._shown()))
        return self._done(now)

    def receive(self, text: str, now: float) -> list[Effect]:
        """A message of text."""
        self._now = self._seen = now
        event = None
        try:
            event = asked.read(text)
            self._handle(event)
        except Unreadable as wrong:
            self.wrong(wrong.code, wrong.message, wrong.param, wrong.event_id or (event.event_id if event else None))
        return self._done(now)

    def alive(self, now: float) -> None:
        """A message came that is no text."""
        self._seen = now

    def words(self, response: str, piece: str, now: float) -> list[Effect]:
        """More words of a response."""
        if (found := self._floor.moving(response, now)) is not None:
            self._outbox.send(*found.words(piece))
            self._floor.voice(found)
        return self._done(now)

    def answered(
        self,
        response: str,
        now: float,
        *,
        whole: bool = True,
        usage: dict[str, Any] | None = None,
        failed: str = "",
        record: dict[str, Any] | None = None,
    ) -> list[Effect]:
        """Those were all its words.

        Args:
            whole: False where there were too many.
            failed: why there are none.
            record: what they rest on, where they come from the stream's record.
        """
        if (found := self._floor.moving(response, now)) is not None:
            found.usage, found.record = usage, record or {}
            if record:
                self._outbox.send(own("evidence", {"response_id": response, "item_id": found.item_id, **record}))
            found.worded()
            if failed:
                self._floor.fail(found, "answer_failed", failed)
            else:
                if not whole:
                    found.details = {"type": "incomplete", "reason": "max_output_tokens"}
                self._floor.voice(found)
        return self._done(now)

    def sound(self, response: str, number: int, samples: Any, now: float) -> list[Effect]:
        """Sound (n,) int16 at 24 kHz of a sentence."""
        if (found := self._floor.moving(response, now)) is not None:
            found.sound(number, samples)
        return self._done(now)

    def spoken(self, response: str, number: int, now: float, failed: str = "") -> list[Effect]:
        """That was all the sound of a sentence."""
        if (found := self._floor.moving(response, now)) is not None:
            if failed:
                self._floor.fail(found, "voice_failed", failed)
            else:
                found.voiced(number)
        return self._done(now)

    def transcribed(self, item: str, words: str, seconds: float, now: float) -> list[Effect]:
        """What was said in an item."""
        self._now = now
        entry = self._listening.settled(item)
        if entry is not None:
            entry.text = words
            if self.settings.audio.input.transcription is not None:
                usage = {"type": "duration", "seconds": round(seconds, 3)}
                self._outbox.send(Transcribed(item_id=item, transcript=words, usage=usage))
            if entry.heard is not None:
                self._answer_heard(entry, entry.heard)
        return self._after_words(now)

    def not_transcribed(self, item: str, code: str, why: str, now: float) -> list[Effect]:
        """It cannot be found out."""
        self._now = now
        if self._listening.settled(item) is not None:
            error = {"type": "server_error", "code": code, "message": why, "param": None}
            self._outbox.send(NotTranscribed(item_id=item, error=error))
            self._responses.fail(code, why)
        return self._after_words(now)

    def told(self, event: dict[str, Any], now: float, urgency: int = 0) -> list[Effect]:
        """Something was told of the session's stream."""
        self._now = now
        inner = event.get("event") or {}
        if inner.get("data", {}).get("session") == self.settings.id:  # what it recorded itself
            return self._done(now)
        self._outbox.send(own(str(event["type"]).removeprefix("serval."), {k: v for k, v in event.items() if k != "type"}))
        if event["type"] == "serval.utterance" and self._own["speak_alerts"]:
            aloud, law = self.settings.output_modalities[0] == "audio", self.settings.audio.output.format.law
            self._floor.alert(str(inner["id"]), str(inner["text"]), urgency, now, aloud=aloud, law=law)
        return self._done(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        if now - self._seen > self._limits.idle:
            self.wrong("session_idle", "nothing came for too long")
            self._outbox.put(Close(4408, "idle"))
        return self._done(now)

    def next_due(self) -> float:
        """When `tick` has something to do at the latest."""
        idle, due = self._seen + self._limits.idle + 0.001, self._floor.next_due()
        return idle if due is None else min(idle, due)

    def sent(self, response: str) -> float | None:
        """Seconds of sound of a response that were sent; None where nobody wants more. From any thread."""
        found = self._floor.made(response)
        return None if found is None else found.sent_ms / 1000

    def wrong(self, code: str, message: str, param: str | None = None, event_id: str | None = None) -> None:
        """An `error` event goes out with what follows."""
        kind = {"rate_limit_exceeded": "rate_limit_error", "not_allowed": "permission_error"}.get(code, "invalid_request_error")
        told = ErrorTold.model_validate({"type": kind, "code": code, "message": message, "param": param, "event_id": event_id})
        self._outbox.send(Error(error=told))

    def tell(self, event: ServerEvent, now: float) -> list[Effect]:
        """Something that was found out elsewhere."""
        self._outbox.send(event)
        return self._done(now)

    # -- the client's events ------------------------------------------------------------------------------------------

    def _handle(self, event: Any) -> None:
        match event:
            case asked.SessionUpdate():
                self._update(event.session)
            case asked.Append():
                self._listening.append(event.audio, self._now)
            case asked.Commit():
                self._listening.commit(self._now)
            case asked.Clear():
                self._listening.clear(self._now)
            case asked.ItemCreate():
                self._create(event.item, event.previous_item_id)
            case asked.ItemRetrieve():
                self._outbox.send(ItemTold(type="conversation.item.retrieved", item=self._entry(event.item_id).view()))
            case asked.ItemDelete():
                self._delete(self._entry(event.item_id))
            case asked.ItemTruncate():
                self._truncate(event)
            case asked.ResponseCreate():
                if any(not each.alerts for each in self._floor.active()):
                    raise Unreadable("conversation_already_has_active_response", "there is a response already; cancel it first")
                self._responses.create(event.response or Wanted(), self.settings, self._now)
            case asked.ResponseCancel():
                self._withdraw(event.response_id)
            case asked.Configure():
                chosen = event.model_dump(include=set(self._own), exclude_none=True)
                if chosen.get("gates", self._own["gates"]) != self._own["gates"]:
                    self._outbox.put(Gates(chosen["gates"]))
                self._own |= chosen
                self._outbox.send(own("configured", self._own))
            case _:
                self._outbox.put(Ask(event))

    def _update(self, given: dict[str, Any]) -> None:
        try:
            new = merged(self.settings, given)
        except ValidationError as error:
            raise asked.unreadable(error, "session") from None
        self._responses.check(new.output_modalities, "session.output_modalities")
        self.settings = new
        self._listening.configure(new.audio.input, self._now)
        self._outbox.send(SessionTold(type="session.updated", session=self._shown()))

    def _create(self, item: asked.Item, after: str | None) -> None:
        sound = self._listening.sound_of(item)
        if item.id is not None and item.id in self.conversation:
            raise Unreadable("item_exists", "there is an item of this id already", "item.id")
        if after not in (None, "root") and after not in self.conversation:
            raise Unreadable("item_not_found", "there is no such item", "previous_item_id")
        text = "" if sound is not None else text_of(item)
        entry = Entry(item.id or self._new_id("item"), item.role, text, spoken=sound is not None, pending=sound is not None)
        self.conversation.add(entry, after)
        if sound is not None:
            self._listening.words_of(entry, sound)

    def _truncate(self, event: asked.ItemTruncate) -> None:
        entry = self._entry(event.item_id)
        response = entry.response
        if response is None or not response.spoken:
            raise Unreadable("invalid_value", "only what Serval has spoken can be truncated", "item_id")
        if event.audio_end_ms > response.sent_ms:
            raise Unreadable("invalid_value", f"audio_end_ms: {response.sent_ms} ms of sound were sent", "audio_end_ms")
        response.limit = event.audio_end_ms
        self._floor.cancel(response, self._now)

    def _withdraw(self, name: str | None) -> None:
        found = next((each for each in self._floor.active() if name in (None, each.id)), None)
        if found is None:
            raise Unreadable("response_cancel_not_active", "there is no such response that goes on", "response_id")
        self._floor.cancel(found, self._now)

    # -- responses ----------------------------------------------------------------------------------------------------

    def _answer_heard(self, entry: Entry, said: Utterance) -> None:
        """What was said is answered, unless it is nothing, or for somebody else."""
        why = "" if entry.text.strip() else "no words"
        if not why and self._own["addressed"] == "named":
            verdict = self._judge.judge(entry.text, said)
            why = "" if verdict.addressed else verdict.why
            entry.text = verdict.question or entry.text
        if why:
            self._outbox.send(own("overheard", {"item_id": entry.id, "transcript": entry.text, "why": why}))
            self._delete(entry)
            return
        try:
            self._responses.create(Wanted(), self.settings, self._now)
        except Unreadable as wrong:
            self.wrong(wrong.code, wrong.message)

    # -- items --------------------------------------------------------------------------------------------------------

    def _delete(self, entry: Entry) -> None:
        self.conversation.remove(entry.id)
        self._responses.think(self.settings)

    def _entry(self, name: str) -> Entry:
        found = self.conversation.find(name)
        if found is None:
            raise Unreadable("item_not_found", "there is no such item", "item_id")
        return found

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _after_words(self, now: float) -> list[Effect]:
        self._listening.stopped(self._now)
        self._responses.think(self.settings)
        return self._done(now)

    def _shown(self) -> dict[str, Any]:
        return self.settings.model_dump(mode="json", exclude={"tools"})

    def _done(self, now: float) -> list[Effect]:
        """What is due by now, and all that is to be done."""
        self._now = max(now, self._now)
        self._floor.settle(self._now)
        return self._outbox.take()
