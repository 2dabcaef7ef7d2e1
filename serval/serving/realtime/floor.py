"""Who has the voice of a session, and what becomes of responses: begun, told, heard to the end, or cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from serval.assistant.listening.arbiter import ANSWER, Arbiter, Decision, Words
from serval.serving.realtime.conversation import Conversation, Entry
from serval.serving.realtime.effects import Cancel, Outbox, Record, Speak
from serval.serving.realtime.response import Response, Status
from serval.serving.realtime.sound import Outgoing
from serval.serving.realtime.telephone import Law
from serval.serving.realtime.told import ItemTruncated, ResponseTold, own

_ALERT = 20.0  # seconds for which something that happened is worth saying
_QUESTION = 120.0  # and the answer to a question
_STALLED = 120.0  # of nothing, after which a response is given up
_LOOK = 1.0  # seconds between two looks at what waits for the voice


class Floor:
    """See the module. What it decides is told, and recorded for the timeline.

    Args:
        session: name of the session, in what is recorded.
    """

    def __init__(self, session: str, conversation: Conversation, outbox: Outbox, new_id: Callable[[str], str]) -> None:
        self.arbiter = Arbiter()
        self._session, self._conversation, self._outbox, self._new_id = session, conversation, outbox, new_id
        self._open: dict[str, Response] = {}  # by the name of their words: what is being made, told or heard
        self._aloud = False  # whether alerts are spoken rather than written
        self._law: Law | None = None  # and in which form of sound
        self._now = 0.0

    # -- what comes up ------------------------------------------------------------------------------------------------

    def answer(self, response: Response, now: float) -> None:
        """A response that somebody asked for."""
        self._now = response.moved = now
        self._open[response.id] = response
        self._decide(self.arbiter.wants(Words(response.id, "", ANSWER, now, _QUESTION, answer=True), now))

    def alert(self, name: str, text: str, urgency: int, now: float, *, aloud: bool, law: Law | None = None) -> None:
        """Something that happened, which is to be said: spoken, with sound in the telephone's form or not, or written."""
        self._now, self._aloud, self._law = now, aloud, law
        self._decide(self.arbiter.wants(Words(f"alert-{name}", text, urgency, now, _ALERT), now))

    def user_speaks(self, now: float) -> None:
        """He is let speak."""
        self._now = now
        self._decide(self.arbiter.speech_started(now))

    def user_stopped(self, now: float) -> None:
        """He has ended, and it is known what he has said."""
        self._now = now
        self._decide(self.arbiter.speech_stopped(now))

    def cancel(self, response: Response, now: float) -> None:
        """Nobody wants it any more, or the rest of it."""
        self._now = now
        name = next((name for name, each in self._open.items() if each is response), None)
        if name is not None:
            self._decide(self.arbiter.withdrawn(name, now))
        else:
            self._truncate(response)

    # -- responses ----------------------------------------------------------------------------------------------------

    def active(self) -> Iterator[Response]:
        """Those of which more is to come."""
        return (each for each in list(self._open.values()) if each.status == "in_progress")

    def made(self, name: str) -> Response | None:
        """One of them."""
        return next((each for each in self.active() if each.id == name), None)

    def moving(self, name: str, now: float) -> Response | None:
        """One of them, of which something comes."""
        found = self.made(name)
        if found is not None:
            found.moved = now
        return found

    def voice(self, response: Response) -> None:
        """Have its sentences spoken that are whole by now."""
        self._outbox.put(*(Speak(response.id, number, text) for number, text in response.sentences()))

    def fail(self, response: Response, code: str, why: str) -> None:
        """It cannot be answered."""
        error = {"type": "server_error", "code": code, "message": why}
        self._finish(response, "failed", {"type": "failed", "error": error})

    def settle(self, now: float) -> None:
        """Send what is due, and end what is over."""
        self._now = now
        if self.arbiter.waiting:
            self._decide(self.arbiter.tick(now))
        changed = True
        while changed:
            changed = False
            for name, each in list(self._open.items()):
                self._outbox.send(*each.due(now))
                if each.told and each.status == "in_progress":
                    self._finish(each, "incomplete" if each.details else "completed", each.details)
                elif each.status == "in_progress" and each.begun and now - each.moved > _STALLED:
                    self.fail(each, "timeout", "it took too long")
                if each.status != "in_progress" and each.heard_by <= now and name in self._open:
                    del self._open[name]
                    self._decide(self.arbiter.ended(name, now) or self.arbiter.withdrawn(name, now))
                    changed = True

    def next_due(self) -> float | None:
        """When `settle` has something to do again, as far as that is known."""
        times = [self._now + _LOOK] if self.arbiter.waiting else []
        for each in self._open.values():
            due = each.next_due() if each.status == "in_progress" else each.heard_by
            times += [each.moved + _STALLED + 0.001] if due is None else [due]
        return min(times, default=None)

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _decide(self, decisions: Sequence[Decision]) -> None:
        for each in decisions:
            first, record = each.words[0], each.record()
            self._outbox.send(own("decision", record))
            text = f"{each.does}: {each.why}"
            self._outbox.put(Record("decision", text, {**record, "session": self._session}))
            if each.does == "speak" and not first.answer:
                self._speak_alerts(each.words)
            elif each.does == "speak":
                self._begin(self._open[first.id])
            elif each.does in ("interrupt", "drop") and first.id in self._open:
                taken = each.does == "interrupt" and not each.why.startswith("nobody wants")
                self._cut(self._open.pop(first.id), "turn_detected" if taken else "client_cancelled", each.why)

    def _speak_alerts(self, words: tuple[Words, ...]) -> None:
        names = tuple(each.id.removeprefix("alert-") for each in words)
        outgoing = Outgoing(self._law)
        response = Response(
            self._new_id("resp"), self._new_id("item"), self._aloud, {"serval": "alert"}, names, outgoing=outgoing
        )
        self._open[words[0].id] = response
        self._outbox.send(ResponseTold(type="response.created", response=response.view()))
        self._begin(response)
        self._outbox.send(*response.words(" ".join(each.text for each in words)))
        response.worded()
        self.voice(response)

    def _begin(self, response: Response) -> None:
        response.moved = self._now
        added, *others = response.begin()
        self._outbox.send(added)
        if response.kept:
            entry = Entry(response.item_id, "assistant", "", spoken=response.spoken, response=response)
            self._conversation.add(entry, done=False)
        self._outbox.send(*others)

    def _finish(self, response: Response, status: Status, details: dict[str, Any] | None = None) -> None:
        self._outbox.put(Cancel(response.id))
        *others, done = response.finish(status, details)
        self._outbox.send(*others)
        said = response.text if status == "completed" else response.said()
        entry = self._conversation.find(response.item_id)
        if entry is not None:
            entry.text = said
            self._conversation.done(entry)
        self._outbox.send(done)
        if response.begun:
            self._record(response, said, interrupted=status == "cancelled")

    def _cut(self, response: Response, reason: str, why: str) -> None:
        """No further word of it. What was not heard is taken from its item."""
        if response.limit is None and response.spoken:
            response.limit = response.heard(self._now)
        goes_on = response.status == "in_progress"
        if goes_on:
            self._finish(response, "cancelled", {"type": "cancelled", "reason": reason})
        if response.spoken and response.sent_ms:
            self._truncate(response)
        if not goes_on:
            self._record(response, response.said(), interrupted=True, why=why)

    def _truncate(self, response: Response) -> None:
        entry = self._conversation.find(response.item_id)
        if entry is not None:
            entry.text = response.said()
            self._outbox.send(ItemTruncated(item_id=entry.id, audio_end_ms=response.limit or 0))

    def _record(self, response: Response, said: str, **more: Any) -> None:
        """What was said to a question; alerts are on the timeline already, but not that they were cut off."""
        if response.alerts and not more["interrupted"]:
            return
        data = {"question": response.question, "status": response.status, "session": self._session, **response.record}
        alerts = {"alerts": list(response.alerts)} if response.alerts else {}
        self._outbox.put(Record("answer", said, {**data, **alerts, **more}))
