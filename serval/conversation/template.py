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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from serval.conversation.messages import Media, MediaKind, Message, Text, count_media, media_of
from serval.refusal import Refusal

_WORKER = Path(__file__).with_name("template_worker.py")
_MEMORY = 512 << 20  # bytes of address space the worker may have
_SOURCE = 1_000_000  # characters of a template


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered conversation.

    Attributes:
        kind: who it is from. Only a template's may be read for special tokens; a medium has no text.
        medium: for media, which of the conversation's media parts, from 0.
        time: seconds, when it was written in a part that has a time.
        learn: it is what the assistant is to learn to say: what the template has in ``{% generation %}``, or without
            any, what the assistant wrote.
    """

    kind: Literal["template", "text", "media"]
    text: str = ""
    medium: int = -1
    time: float | None = None
    learn: bool = False


@dataclass(eq=False)
class ChatTemplate:
    """A chat template in Jinja, as models bring it.

    Attributes:
        source: the template.
        placeholders: what it writes where a medium goes, for each kind ("image": "<|image_pad|>"). With any, the template
            gets each content as a list of parts; with none it gets strings, and media stand where they are in them.
        variables: what it may ask for besides: "bos_token", "eos_token", "enable_thinking" …
        seconds: how long one rendering may take.
        characters: how long a rendered conversation may be.

    The template runs in Jinja's sandbox, in a process without environment, that may not open or start anything and
    has 512 MB; the process is kept for the next conversation until `close`.
    """

    source: str
    placeholders: Mapping[MediaKind, str] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 5.0
    characters: int = 8_000_000
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.source) > _SOURCE:
            raise Refusal("the chat template", f"it is longer than {_SOURCE} characters", "take another model")

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
                pieces.append(Piece("text", value, time=said, learn=learn))
            else:
                pieces += self._places(value, learn)
        return _numbered(pieces, messages)

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

    def _places(self, text: str, learn: bool) -> list[Piece]:
        """The template's own text cut at its placeholders, the longest that fits first."""
        kinds = {placeholder: kind for kind, placeholder in self.placeholders.items()}
        if not kinds:
            return [Piece("template", text, learn=learn)]
        cut = re.compile("|".join(f"({re.escape(each)})" for each in sorted(kinds, key=len, reverse=True)))
        stretches = [each for each in cut.split(text) if each]
        return [Piece("media", kinds[each]) if each in kinds else Piece("template", each, learn=learn) for each in stretches]

    def _ask(self, request: bytes) -> dict[str, Any]:
        """One line to the worker, one line back, within the time."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            # -I: neither environment nor working folder decide what is imported
            command = [sys.executable, "-I", str(_WORKER)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env={}, bufsize=0)
            request = json.dumps({"source": self.source, "memory": _MEMORY, "seconds": self.seconds}).encode() + b"\n" + request
        assert self._process.stdin is not None and self._process.stdout is not None
        until, answer, output = time.monotonic() + self.seconds, bytearray(), self._process.stdout.fileno()
        try:
            sent = memoryview(request)
            while sent:
                sent = sent[self._process.stdin.write(sent) or 0 :]
            while not answer.endswith(b"\n"):
                if not select.select([output], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise Refusal("the chat template", f"it takes longer than {self.seconds:g} s", "use another template")
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
        found: dict[str, Any] = json.loads(answer)
        return found


def _numbered(pieces: list[Piece], messages: Sequence[Message]) -> tuple[Piece, ...]:
    """Placeholders of a kind stand for the media of that kind in order; every medium must have its place, once."""
    of_kind: dict[str, list[int]] = {}
    for number, part in enumerate(media_of(messages)):
        of_kind.setdefault(part.kind, []).append(number)
    waiting = {kind: iter(numbers) for kind, numbers in of_kind.items()}
    made = []
    for piece in pieces:
        if piece.kind == "media" and piece.medium < 0:
            piece = Piece("media", medium=next(waiting.get(piece.text, iter(())), -1))
        made.append(piece)
    placed = [piece.medium for piece in made if piece.kind == "media"]
    if sorted(placed) != list(range(sum(count_media(messages).values()))):
        raise Refusal(
            "the chat template",
            f"it has {len(placed)} places for {len(list(media_of(messages)))} media parts",
            "use a model made for such media",
        )
    return tuple(made)


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
