"""A session without a socket: its effects are followed at once, by a scripted answerer, and its clock is given."""

from __future__ import annotations

import base64
import itertools
import json
from typing import get_args

import numpy as np
from openai.types.realtime import RealtimeServerEvent

from serval.serving.realtime import effects as does
from serval.serving.realtime.limits import RATE
from serval.serving.realtime.session import Session

STOCK = {get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(RealtimeServerEvent)[0])}


class Loud:
    """Speech is what is loud."""

    models = {}  # noqa: RUF012

    def score(self, chunk):
        return float(np.abs(chunk).max() > 0.1)


def tone(seconds, loud=True):
    """Sound at 24 kHz: a tone that `Loud` takes for speech, or silence."""
    at = np.arange(round(seconds * RATE))
    return (8000 * np.sin(at * 0.1) * loud).astype(np.int16)


def b64(samples):
    return base64.b64encode(samples.astype("<i2").tobytes()).decode()


class Talk:
    """What a client and the rest of the service would do: everything that was sent is in ``told``, as JSON."""

    def __init__(self, voice=False, follow=True, **options):
        numbers = itertools.count()
        options = {"activity": Loud, "new_id": lambda kind: f"{kind}_{next(numbers)}", **options}
        self.session = Session(voice=voice, **options)
        self.now, self.told, self.wanted, self.recorded, self.closed = 0.0, [], [], [], None
        self.follows = follow
        self.follow(self.session.start(self.now))

    def follow(self, effects):
        fresh = []
        for each in effects:
            if isinstance(each, does.Send):
                event = json.loads(each.event.model_dump_json())
                if not event["type"].startswith("serval."):
                    STOCK[event["type"]].model_validate(event)  # the stock client's own types, each field
                self.told.append(event)
                fresh.append(event)
            elif isinstance(each, does.Record):
                self.recorded.append(each)
            elif isinstance(each, does.Close):
                self.closed = each.code
            else:
                self.wanted.append(each)
        return fresh

    def send(self, kind, /, **fields):
        return self.follow(self.session.receive(json.dumps({"type": kind, **fields}), self.now))

    def raw(self, text):
        return self.follow(self.session.receive(text, self.now))

    def hear(self, samples, step=0.02):
        """Sound in pieces of ``step`` seconds, each at its time."""
        fresh, size = [], round(step * RATE)
        for at in range(0, len(samples), size):
            piece = samples[at : at + size]
            self.now += len(piece) / RATE
            fresh += self.send("input_audio_buffer.append", audio=b64(piece))
        return fresh

    def wait(self, seconds, step=0.02):
        fresh, until = [], self.now + seconds
        while self.now < until - 1e-9:
            self.now += step
            fresh += self.follow(self.session.tick(self.now))
        return fresh

    def take(self, kind):
        """The effects of a kind that nobody has taken yet."""
        found = [each for each in self.wanted if isinstance(each, kind)]
        self.wanted = [each for each in self.wanted if not isinstance(each, kind)]
        return found

    def say(self, text):
        return self.send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
        )

    def ask(self, text="What is it?", **response):
        self.say(text)
        self.send("response.create", **({"response": response} if response else {}))
        return self.take(does.Answer)

    def answer(self, asked, *pieces, **how):
        fresh = []
        for piece in pieces:
            fresh += self.follow(self.session.words(asked.response, piece, self.now))
        return fresh + self.follow(self.session.answered(asked.response, self.now, **how))

    def voice(self, seconds=1.0):
        """Every sentence that waits for its sound gets so much of it."""
        fresh = []
        for each in self.take(does.Speak):
            fresh += self.follow(self.session.sound(each.response, each.number, tone(seconds), self.now))
            fresh += self.follow(self.session.spoken(each.response, each.number, self.now))
        return fresh

    def understand(self, words):
        (sound,) = self.take(does.Transcribe)
        return self.follow(self.session.transcribed(sound.item, words, len(sound.samples) / 16_000, self.now))

    def kinds(self, events=None):
        return [each["type"] for each in (self.told if events is None else events) if not each["type"].startswith("serval.")]

    def of(self, kind):
        return [each for each in self.told if each["type"] == kind]

    @property
    def error(self):
        """The code of what was told last, if that was an error."""
        return self.told[-1]["error"]["code"] if self.told[-1]["type"] == "error" else None
