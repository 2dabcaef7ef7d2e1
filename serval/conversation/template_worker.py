"""Renders chat templates in a process of its own: it holds no secrets, may not write or start anything, and can be killed.

Started by path, in isolation, by `serval.conversation.template`; it imports nothing of Serval. One JSON object a line: the
template first, then each conversation. What people wrote is given to the template as `Written`, so it leaves as what it was.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Private-use characters around what is not the template's own text. Templates that contain them are refused; written
# text never meets the rendered text, so it may contain anything.
OPEN, CLOSE, LEARN, UNLEARN = "\U000f0000", "\U000f0001", "\U000f0002", "\U000f0003"
RESERVED = re.compile(f"[{OPEN}-{UNLEARN}]")


class Refused(Exception):  # noqa: N818 - told to the person, not a fault
    """What is wrong with the template, in one line."""


class Shelf:
    """What was written in one conversation. The rendered text holds marks for it, which nobody can guess."""

    def __init__(self) -> None:
        self._nonce = f"{secrets.randbelow(10**18):018d}"
        self.items: list[tuple[str, str | int, int, int]] = []  # kind, text or number of the medium, message, part
        self.mark = re.compile(f"{OPEN}{self._nonce}:([0-9]+){CLOSE}")

    def put(self, kind: str, value: str | int, message: int = -1, part: int = -1) -> str:
        """Keep something; the mark that stands for it."""
        self.items.append((kind, value, message, part))
        return f"{OPEN}{self._nonce}:{len(self.items) - 1}{CLOSE}"

    def written(self, text: str, message: int = -1, part: int = -1) -> Written:
        """Keep a text that somebody wrote; what the template gets of it."""
        return Written(self.put("text", text, message, part), text, self, (message, part))

    def reveal(self, value: Any) -> Any:
        """``value`` with the text in place of its marks, all the way down."""
        if isinstance(value, Written):
            return value._text
        if isinstance(value, str):
            return self.mark.sub(lambda found: str(self.items[int(found[1])][1]), value)
        if isinstance(value, dict):
            return {self.reveal(key): self.reveal(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.reveal(each) for each in value]
        return value

    def hide(self, value: Any, message: int = -1) -> Any:
        """``value`` with every text in it marked, names too."""
        if isinstance(value, str):
            return self.written(value, message)
        if isinstance(value, dict):
            return {self.hide(key, message): self.hide(each, message) for key, each in value.items()}
        return [self.hide(each, message) for each in value] if isinstance(value, list) else value


class Written(str):
    """Text somebody wrote. Templates that look at it see the text; in what they put together it is a mark.

    Whatever is not foreseen below works on the mark, and so keeps the text apart.
    """

    __slots__ = ("_origin", "_shelf", "_text")
    _text: str
    _shelf: Shelf
    _origin: tuple[int, int]

    def __new__(cls, mark: str, text: str = "", shelf: Shelf | None = None, origin: tuple[int, int] = (-1, -1)) -> Written:
        self = super().__new__(cls, mark)
        self._text, self._shelf, self._origin = text, shelf or Shelf(), origin
        return self

    def _like(self, text: str) -> Written:
        return self._shelf.written(text, *self._origin)

    def __eq__(self, other: object) -> bool:
        return self._text == (other._text if isinstance(other, Written) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return str(self._like(repr(self._text)))

    def __len__(self) -> int:
        return len(self._text)

    def __contains__(self, other: object) -> bool:
        return isinstance(other, str) and self._shelf.reveal(other) in self._text

    def __getitem__(self, index: Any) -> Written:
        return self._like(self._text[index])

    def __iter__(self) -> Iterator[str]:
        return map(self._like, self._text)


def _on_text(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def call(self: Written, *args: Any, **options: Any) -> Any:
        found = method(self._text, *map(self._shelf.reveal, args), **options)
        if isinstance(found, str):
            return self._like(found)
        return type(found)(map(self._like, found)) if isinstance(found, (list, tuple)) else found

    return call


for _name in (
    "strip lstrip rstrip split rsplit splitlines partition rpartition startswith endswith find rfind index rindex count "
    "replace lower upper title capitalize casefold swapcase removeprefix removesuffix isdigit isspace isalpha isalnum "
    "isnumeric isupper islower __lt__ __le__ __gt__ __ge__"
).split():
    setattr(Written, _name, _on_text(_name))


class Parts(list[dict[str, Any]]):
    """Content as a list. For templates that take a system message or a tool's result for a text it is one, if it holds only
    texts."""

    def __init__(self, parts: list[dict[str, Any]], whole: Written | None) -> None:
        super().__init__(parts)
        self._whole = whole

    def __str__(self) -> str:
        if self._whole is None:
            raise Refused("it takes a message with media for a text")
        return self._whole


class Generation(Extension):
    """``{% generation %}``: what the assistant is to learn to say."""

    tags = {"generation"}  # noqa: RUF012 - jinja's way

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Marks around what stands in the block."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        begin, end = (nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in (LEARN, UNLEARN))
        return [begin, *body, end]


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with nothing but what chat templates use."""

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        self.shelf = Shelf()
        self.filters["tojson"], self.filters["replace"] = self._tojson, self._replace
        del self.globals["lipsum"]
        self.globals["raise_exception"] = self._raise
        self.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)

    def _tojson(self, value: Any, indent: int | None = None, **options: Any) -> Written:
        options = {"ensure_ascii": False} | options
        return self.shelf.written(json.dumps(self.shelf.reveal(value), indent=indent, **options))

    @staticmethod
    def _replace(text: Any, old: str, new: str, count: int = -1) -> Any:
        return (text if isinstance(text, str) else str(text)).replace(old, new, -1 if count is None else count)

    def _raise(self, why: object) -> None:
        raise Refused("it says: " + ascii(self.shelf.reveal(str(why)))[1:200])


def conversation(shelf: Shelf, messages: list[dict[str, Any]], *, parts: bool) -> list[dict[str, Any]]:
    """Messages in Hugging Face's form; with ``parts`` every content is a list, else a string with media marked in it."""
    medium, turns = 0, []
    for number, message in enumerate(messages):
        turn: dict[str, Any] = {"role": message["role"]}
        pieces: list[dict[str, Any]] = []
        for place, part in enumerate(message["parts"]):
            if part["type"] == "text":
                pieces.append({"type": "text", "text": shelf.written(part["text"], number, place)})
            else:
                pieces.append({"type": part["type"]})
                if not parts:
                    pieces[-1]["text"] = shelf.put("media", medium, number, place)
                medium += 1
        whole = None
        if len(pieces) == 1:
            whole = pieces[0].get("text")
        elif all(part["type"] == "text" and (parts or part["time"] is None) for part in message["parts"]):
            whole = shelf.written("".join(part["text"] for part in message["parts"]), number)
        if parts:
            turn["content"] = Parts(pieces, whole)
        else:
            turn["content"] = "".join(str(each["text"]) for each in pieces) if whole is None else whole
        for key in ("name", "tool_call_id"):
            if message[key] is not None:
                turn[key] = shelf.written(message[key], number)
        if message["tool_calls"]:
            turn["tool_calls"] = [
                {"type": "function", "id": shelf.hide(call["id"], number), "function": shelf.hide(call["function"], number)}
                for call in message["tool_calls"]
            ]
        turns.append(turn)
    return turns


def pieces_of(shelf: Shelf, rendered: str, limit: int) -> list[list[Any]]:
    """[kind, text or number, message, part, learn] of each stretch of a rendered text."""
    total, learn, made, kinds = 0, False, [], ("template", "mark")
    for number, stretch in enumerate(shelf.mark.split(rendered)):
        if kinds[number % 2] == "mark":
            item = shelf.items[int(stretch)]
            total += len(str(item[1]))
            made.append([*item, learn])
        else:
            for char_or_text in re.split(f"([{LEARN}{UNLEARN}])", stretch):
                if char_or_text in (LEARN, UNLEARN):
                    learn = char_or_text == LEARN
                elif RESERVED.search(char_or_text):
                    raise Refused("it takes what was written apart")
                elif char_or_text:
                    total += len(char_or_text)
                    made.append(["template", char_or_text, -1, -1, learn])
        if total > limit:
            raise Refused(f"what it renders is longer than {limit} characters")
    return made


def render(environment: Sandbox, template: jinja2.Template, request: dict[str, Any]) -> list[list[Any]]:
    """The pieces of a conversation, as `pieces_of` gives them. Raises `Refused`."""
    shelf = environment.shelf = Shelf()
    values = request["variables"] | {"messages": conversation(shelf, request["messages"], parts=request["parts"])}
    values |= {"tools": shelf.hide(request["tools"]) or None, "documents": None}  # templates ask whether they are none
    size, chunks, limit = 0, [], request["limit"]
    for chunk in template.generate(values):
        size += str.__len__(chunk)
        if size > 40 * limit:  # marks are longer than what they may stand for
            raise Refused(f"what it renders is longer than {limit} characters")
        chunks.append(str.__str__(chunk))
    return pieces_of(shelf, "".join(chunks), limit)


_FORBIDDEN = ("os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pty.", "webbrowser.", "import")


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN) or event == "open":
        raise PermissionError(event)


def confine(memory: int) -> None:
    """Nothing is imported, opened, written, connected to or started from here on. Cannot be undone."""
    import jinja2.debug  # noqa: F401 - what is only imported when it is needed, by then cannot be

    r"\n".encode("ascii").decode("unicode-escape")
    datetime.now().astimezone().strftime("%d")

    try:
        import resource
    except ImportError:  # a system without limits: the guard and the clock still hold
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_guard)


def main() -> None:
    """Read a template, then conversations line by line, and answer each with one line."""
    start = json.loads(sys.stdin.readline())
    environment, template = Sandbox(), None
    confine(start["memory"])
    print("{}", flush=True)  # noqa: T201 - ready: from here on the time counts
    for line in iter(sys.stdin.readline, ""):
        if hasattr(signal, "alarm"):  # for when nobody is left to end it
            signal.alarm(int(start["seconds"]) + 2)
        try:
            if template is None:
                if RESERVED.search(start["source"]):
                    raise Refused("it contains characters that are reserved here")
                template = environment.from_string(start["source"])
            answer: dict[str, Any] = {"pieces": render(environment, template, json.loads(line))}
        except Refused as refused:
            answer = {"refused": str(refused)}
        except jinja2.TemplateSyntaxError as error:
            answer = {"refused": f"line {error.lineno} is not a template"}
        except jinja2.exceptions.SecurityError:
            answer = {"refused": "it asks for what templates may not have"}
        except (MemoryError, RecursionError, OverflowError):
            answer = {"refused": "it needs too much memory"}
        except Exception as error:  # a template can fail in any way
            answer = {"refused": f"it fails with {type(error).__name__}"}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    main()
