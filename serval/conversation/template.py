"""Hugging Face chat templates: programs from strangers, run apart and for a moment only.

A rendered conversation is not a string but pieces: what the template wrote, what people wrote, and where media go. Only
the first can hold special tokens, so nothing that is said, named, called or returned by a tool can pass for one.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from serval.conversation.messages import Media, MediaKind, Message, Text
from serval.conversation.template_files import chat_template_of, ends_of, family_of, places_of, tokens_of
from serval.refusal import Refusal

_WORKER = Path(__file__).with_name("template_worker.py")
_MEMORY = 512 << 20  # bytes of address space the worker may have
_SOURCE = 1_000_000  # characters of a template
_START_SECONDS = 60.0  # that the process may take to start, on a machine with much to do


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered conversation.

    Attributes:
        kind: who it is from. Only a template's may be read for special tokens.
        text: for media, what the template wrote in its place.
        medium: for media, which of the conversation's media parts, from 0.
        message: which message it comes from; -1 for what the template wrote.
        time: seconds, when it was written in a part that has a time.
        learn: it is what the assistant is to learn to say: what the template has in ``{% generation %}``, or without
            any, what the assistant wrote.
    """

    kind: Literal["template", "text", "media"]
    text: str = ""
    medium: int = -1
    message: int = -1
    time: float | None = None
    learn: bool = False


@dataclass(eq=False)
class ChatTemplate:
    """A chat template in Jinja, as models bring it.

    Attributes:
        source: the template.
        placeholders: what it writes where a medium goes, for each kind ("image": "<|image_pad|>"). With any, the template
            gets each content as a list of parts; with none it gets strings, and media stand where they are in them.
        around: what the model was tuned to have before and after media of a kind, where its template leaves that to others.
        variables: what it may ask for besides: "bos_token", "eos_token", "enable_thinking" …
        ends: ids that end a reply, by the model's files; `serval.conversation.build.stops` knows those of the template, too.
        seconds: how long one rendering may take.
        characters: how long a rendered conversation may be.

    The template runs in Jinja's sandbox, in a process without environment, that may not open or start anything and
    has 512 MB; the process is kept for the next conversation until `close`.
    """

    source: str
    placeholders: Mapping[MediaKind, str] = field(default_factory=dict)
    around: Mapping[MediaKind, tuple[str, str]] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    ends: frozenset[int] = frozenset()
    seconds: float = 5.0
    characters: int = 8_000_000
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.source) > _SOURCE:
            raise Refusal("the chat template", f"it is longer than {_SOURCE} characters", "take another model")

    @classmethod
    def from_folder(cls, folder: Path, name: str = "default") -> ChatTemplate:
        """The chat template of a model in Hugging Face's form, with its tokens and the places of its media.

        Args:
            name: which one, where there are several ("tool_use" …).

        Raises:
            Refusal: the folder has no such template, or a file of it is damaged.
        """
        source, tokens = chat_template_of(folder, name), tokens_of(folder)
        places, around = places_of(source, tokens, family_of(folder))
        return cls(source, places, around, tokens, ends_of(folder))

    def render(
        self, messages: Sequence[Message], *, reply: bool = True, tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Piece, ...]:
        """The pieces of a conversation; with ``reply`` they end where the assistant's words begin.

        Raises:
            Refusal: the template is wrong or hostile, takes too long, writes too much, or does not have a place for every
                medium.
        """
        request = {
            "messages": [_plain(each) for each in messages],
            "parts": bool(self.placeholders),
            "tools": list(tools),
            "limit": self.characters,
            "variables": {"add_generation_prompt": reply, **self.variables},
        }
        try:
            line = json.dumps(request).encode() + b"\n"
        except (RecursionError, TypeError, ValueError):
            raise Refusal("the conversation", "its tools are not plain JSON", "nest less, and use plain values") from None
        with self._lock:
            answer = self._ask(line)
        if "refused" in answer:
            raise Refusal("the chat template", answer["refused"], "use another template")
        pieces: list[Piece] = []
        says_what_to_learn = any(learn for *_, learn in answer["pieces"])
        for kind, value, number, part, learn in answer["pieces"]:
            where = messages[number].parts[part] if part >= 0 else None
            said = where.time if isinstance(where, Text) else None
            if kind == "media":
                pieces.append(Piece("media", medium=value))
            elif kind == "text":
                if not says_what_to_learn:
                    learn = number >= 0 and messages[number].role == "assistant"
                pieces.append(Piece("text", value, message=number, time=said, learn=learn))
            else:
                pieces += self._cut(value, learn)
        return self._placed(pieces, messages)

    def close(self) -> None:
        """End the process. It starts again when it is needed."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> ChatTemplate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _cut(self, text: str, learn: bool) -> list[Piece]:
        """The template's own text cut at its placeholders, the longest that fits first."""
        names = sorted(set(self.placeholders.values()), key=len, reverse=True)
        stretches = re.split(f"({'|'.join(map(re.escape, names))})", text) if names else [text]
        made = [
            Piece("media", stretch) if number % 2 else Piece("template", stretch, learn=learn)
            for number, stretch in enumerate(stretches)
        ]
        return [piece for piece in made if piece.text]

    def _placed(self, pieces: list[Piece], messages: Sequence[Message]) -> tuple[Piece, ...]:
        """Each placeholder stands for the next medium that has such a one; every medium must have its place, once."""
        parts = [(number, part) for number, message in enumerate(messages) for part in message.media]
        waiting: dict[str | None, list[int]] = {}
        for medium in reversed(range(len(parts))):
            waiting.setdefault(self.placeholders.get(parts[medium][1].kind), []).append(medium)
        made, placed = [], []
        for piece in pieces:
            if piece.kind != "media":
                made.append(piece)
                continue
            medium = piece.medium if piece.medium >= 0 else (waiting.get(piece.text) or [-1]).pop()
            placed.append(medium)
            if medium >= 0:
                number, part = parts[medium]
                before, after = self.around.get(part.kind, ("", ""))
                made += [Piece("template", before), replace(piece, medium=medium, message=number), Piece("template", after)]
        if sorted(placed) != list(range(len(parts))):
            why = f"it has {len(placed)} places for {len(parts)} media parts"
            raise Refusal("the chat template", why, "use a model made for such media")
        return tuple(piece for piece in made if piece.text or piece.kind != "template")

    def _ask(self, request: bytes) -> dict[str, Any]:
        """One line to the worker, one line back, within the time."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            # -I: neither environment nor working folder decide what is imported
            command = [sys.executable, "-I", str(_WORKER)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env={}, bufsize=0)
            start = {"source": self.source, "memory": _MEMORY, "seconds": self.seconds}
            self._exchange(json.dumps(start).encode() + b"\n", _START_SECONDS)
        found: dict[str, Any] = json.loads(self._exchange(request, self.seconds))
        return found

    def _exchange(self, sent: bytes, seconds: float) -> bytes:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        until, answer, output = time.monotonic() + seconds, bytearray(), self._process.stdout.fileno()
        try:
            rest = memoryview(sent)
            while rest:
                rest = rest[self._process.stdin.write(rest) or 0 :]
            while not answer.endswith(b"\n"):
                if not select.select([output], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise Refusal("the chat template", f"it takes longer than {seconds:g} s", "use another template")
                chunk = os.read(output, 1 << 20)
                if not chunk:
                    raise BrokenPipeError
                answer += chunk
        except BrokenPipeError:
            self.close()
            raise Refusal("the chat template", "it needs too much memory", "use another template") from None
        except BaseException:
            self.close()
            raise
        return bytes(answer)


def _plain(message: Message) -> dict[str, Any]:
    """What the worker reads of a message; where media are is not its business."""
    return {
        "role": message.role,
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "tool_calls": [
            {"id": call.id, "function": {"name": call.name, "arguments": _object_or_text(call.arguments)}}
            for call in message.tool_calls
        ],
        "parts": [
            {"type": part.kind} if isinstance(part, Media) else {"type": "text", "text": part.text, "time": part.time}
            for part in message.parts
        ],
    }


def _object_or_text(arguments: str) -> Any:
    """Templates expect an object, and the assistant may have written anything."""
    try:
        found = json.loads(arguments)
        json.dumps(found, allow_nan=False)
    except (ValueError, RecursionError):
        return arguments
    return found if isinstance(found, dict) else arguments
