"""What the user says aloud: sound to items, and items to where their words are found out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serval.assistant.listening.activity import RATE as HEARD
from serval.assistant.listening.activity import Activity, Samples, Utterance
from serval.serving.realtime.conversation import Conversation, Entry
from serval.serving.realtime.ear import Ear, Full, Started, Stopped
from serval.serving.realtime.effects import Outbox, Transcribe
from serval.serving.realtime.floor import Floor
from serval.serving.realtime.limits import RATE, SessionLimits
from serval.serving.realtime.protocol import AudioInput, Item, ServerVad, Unreadable
from serval.serving.realtime.sound import Incoming, Resampler
from serval.serving.realtime.told import Cleared, Committed, NotTranscribed, SpeechStarted, SpeechStopped

_SHORTEST = 0.1  # seconds of sound that may be an item


class Listening:
    """See the module.

    Args:
        activity: makes what finds speech in sound.
    """

    def __init__(
        self,
        conversation: Conversation,
        floor: Floor,
        outbox: Outbox,
        limits: SessionLimits,
        activity: Callable[[], Activity],
        new_id: Callable[[str], str],
    ) -> None:
        self._conversation, self._floor, self._outbox = conversation, floor, outbox
        self._limits, self._new_id = limits, new_id
        self._ear = Ear(activity, limits.sound)
        self._vad: ServerVad | None = None
        self._incoming = Incoming()
        self._saying = ""  # the item of what is being said
        self._unheard = 0  # stretches of sound that wait for their words

    def configure(self, wanted: AudioInput, now: float) -> None:
        """Look for speech in this way or not at all, in sound of this format."""
        self._vad, speaking = wanted.turn_detection, self._ear.speaking
        self._ear.configure(self._vad)
        if wanted.format.law != self._incoming.law:
            self._incoming = Incoming(wanted.format.law)
        if speaking and not self._ear.speaking:
            self.stopped(now)

    def append(self, audio: str, now: float) -> None:
        """More sound. Raises `Unreadable` for what is none, or too much."""
        samples = _samples(audio, "audio", self._incoming)
        try:
            for happened in self._ear.append(samples):
                self._heard(happened, now)
        except Full:
            most = f"{self._limits.sound:g} seconds of sound wait for their commit, which is the most"
            raise Unreadable("input_audio_buffer_full", most, "audio") from None

    def commit(self, now: float) -> None:
        """What came is all. Raises `Unreadable` where that is nothing."""
        samples = self._ear.commit()
        if samples is None or len(samples) < _SHORTEST * HEARD:
            raise Unreadable("input_audio_buffer_commit_empty", "there is less than 100 ms of sound to commit")
        self._commit(samples, None)
        self.stopped(now)

    def clear(self, now: float) -> None:
        """Forget what came."""
        self._ear.clear()
        self.stopped(now)
        self._outbox.send(Cleared())

    def sound_of(self, item: Item) -> Samples | None:
        """What a client's item has to be listened to; None for words. Raises `Unreadable`."""
        if len(item.content) != 1 or item.content[0].type != "input_audio" or item.role != "user":
            return None
        where = "item.content.0.audio"
        samples = _samples(item.content[0].audio or "", where, Incoming(self._incoming.law))
        if not _SHORTEST <= len(samples) / RATE <= self._limits.sound:
            raise Unreadable("invalid_value", f"{where}: it has 0.1 to {self._limits.sound:g} seconds of sound", where)
        return Resampler().feed(samples)

    def words_of(self, entry: Entry, samples: Samples) -> None:
        """Find out what is said in an item of the conversation."""
        self._unheard += 1
        if self._unheard <= self._limits.unheard:
            self._outbox.put(Transcribe(entry.id, samples))
            return
        self.settled(entry.id)
        error = {"type": "server_error", "code": "busy", "message": "too much waits for its words", "param": None}
        self._outbox.send(NotTranscribed(item_id=entry.id, error=error))

    def settled(self, item: str) -> Entry | None:
        """Its words are known, or never will be."""
        self._unheard -= 1
        entry = self._conversation.find(item)
        if entry is not None:
            entry.pending = False
        return entry

    def stopped(self, now: float) -> None:
        """The voice is free again when the user has ended, and it is known what he has said."""
        if not self._ear.speaking and not self._unheard:
            self._floor.user_stopped(now)

    def _heard(self, happened: Started | Stopped, now: float) -> None:
        vad = self._vad
        if isinstance(happened, Started):
            self._saying = self._new_id("item")
            self._outbox.send(SpeechStarted(item_id=self._saying, audio_start_ms=happened.ms))
            if vad is not None and vad.interrupt_response:
                self._floor.user_speaks(now)
            return
        self._outbox.send(SpeechStopped(item_id=self._saying, audio_end_ms=happened.ms))
        if happened.said is not None:
            self._commit(happened.said.samples, happened.said if vad is not None and vad.create_response else None)
        self.stopped(now)

    def _commit(self, samples: Samples, said: Utterance | None) -> None:
        name, self._saying = self._saying or self._new_id("item"), ""
        heard = None if said is None else Utterance(said.start, said.end, np.zeros(0, np.float32))
        entry = Entry(name, "user", "", spoken=True, pending=True, heard=heard)
        self._outbox.send(Committed(item_id=name, previous_item_id=self._conversation.last))
        self._conversation.add(entry)
        self.words_of(entry, samples)


def _samples(audio: str, where: str, incoming: Incoming) -> NDArray[np.int16]:
    try:
        return incoming.read(audio)
    except ValueError as error:
        raise Unreadable("invalid_value", f"{where}: {error}", where) from None
