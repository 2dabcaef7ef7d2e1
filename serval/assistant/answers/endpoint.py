"""Any OpenAI-compatible endpoint as answerer. What it says beyond the facts is kept apart, marked as unverified."""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from serval.assistant.answers.answer import Answer, Request
from serval.assistant.answers.checker import check
from serval.assistant.answers.decline import reason
from serval.assistant.answers.prompt import messages
from serval.assistant.answers.template import TemplateAnswerer
from serval.assistant.event import Fact
from serval.assistant.timeline.plain import one_line
from serval.conversation.formats import to_openai
from serval.refusal import Refusal

log = logging.getLogger(__name__)

LONGEST = 1200  # characters of a reply that are read; the rest is cut off
UNVERIFIED = 600  # of them that are kept as unverified
RETRIES = 2
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"”’'])\s+")


class _Failed(Exception):  # noqa: N818 - an outcome the template answers for
    """In our own words why there is no reply; what the server wrote is never repeated."""


class EndpointAnswerer:
    """Asks ``URL#model`` (without ``#model``: the first the server lists) with the keyframes and the facts.

    The key is ``SERVAL_API_KEY``, else ``OPENAI_API_KEY``; the latter never goes over an unencrypted line to another machine.
    Whatever fails, the template speaks.

    Args:
        connect_seconds, total_seconds: limits on reaching the server and on the whole reply, retries included.

    Raises:
        Refusal: the URL cannot be used.
    """

    name = "endpoint"

    def __init__(self, url: str, *, connect_seconds: float = 5.0, total_seconds: float = 30.0) -> None:
        self._base, self._model, host = _parsed(url)
        self._connect, self._total = connect_seconds, total_seconds
        self._key = _key(self._base, host)
        self._template = TemplateAnswerer()
        self._client: Any = None
        self.models = {"answerer": f"{self._model or 'first model'} at {host}"}
        self._host = host

    def answer(self, request: Request, cancelled: Callable[[], bool] = lambda: False) -> Answer:
        """What stands in the facts as ``text``, what does not as ``unverified``."""
        began = time.perf_counter()
        plain = self._template.answer(request, cancelled)
        if reason(request.question):
            return plain
        try:
            said = self._reply(to_openai(messages(request)), cancelled)
        except _Failed as failed:
            seconds = time.perf_counter() - began
            return replace(plain, why=f"the endpoint gave no answer: {failed}", seconds=seconds, first_word_seconds=seconds)
        text, rest = divide(said, request.facts)
        seconds = time.perf_counter() - began
        return replace(
            plain,
            text=text or plain.text,
            by=self.name if text else plain.by,
            verified=not rest,
            unverified=rest,
            why="" if text else "nothing that the endpoint said stands in the facts",
            seconds=seconds,
            first_word_seconds=seconds,
        )

    def _reply(self, asked: list[dict[str, Any]], cancelled: Callable[[], bool]) -> str:
        """The whole reply, read on a thread of its own so that neither a silent nor an endless server holds us up."""
        pieces: queue.Queue[str | _Failed | None] = queue.Queue()
        stop = threading.Event()
        worker = threading.Thread(target=self._read, args=(asked, pieces, stop), name="serval-endpoint", daemon=True)
        deadline = time.monotonic() + self._total
        worker.start()
        said = ""
        try:
            while len(said) < LONGEST:
                if cancelled():
                    raise _Failed("it was cut short")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _Failed("it did not finish in time")
                try:
                    piece = pieces.get(timeout=min(0.05, left))
                except queue.Empty:
                    continue
                if isinstance(piece, _Failed):
                    raise piece
                if piece is None:
                    break
                said += piece
        finally:
            stop.set()
        said = one_line(said[:LONGEST])
        if not said:
            raise _Failed("it said nothing")
        return said

    def _read(self, asked: list[dict[str, Any]], pieces: queue.Queue[str | _Failed | None], stop: threading.Event) -> None:
        try:
            client = self._connected()
            if not self._model:
                self._model = _first(client.models.list().data)
                self.models = {"answerer": f"{one_line(self._model)[:80]} at {self._host}"}
            with client.chat.completions.create(model=self._model, messages=asked, stream=True) as stream:
                for chunk in stream:
                    if stop.is_set():
                        return
                    for choice in (chunk.choices or ())[:1]:
                        if isinstance(choice.delta.content, str):
                            pieces.put(choice.delta.content)
            pieces.put(None)
        except _Failed as failed:
            pieces.put(failed)
        except Exception as error:  # whatever a server makes a client raise
            log.debug("the endpoint failed: %s", type(error).__name__)
            pieces.put(_Failed(_in_our_words(error)))

    def _connected(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.OpenAI(
                base_url=self._base,
                api_key=self._key,
                timeout=openai.Timeout(self._total, connect=self._connect),
                max_retries=RETRIES,
                http_client=openai.DefaultHttpxClient(follow_redirects=False),  # the key stays with the host it was meant for
            )
        return self._client


def divide(said: str, facts: Sequence[Fact]) -> tuple[str, str]:
    """(sentences that the facts hold, sentences that they do not), each in the order said."""
    kept: list[str] = []
    rest: list[str] = []
    for sentence in _SENTENCE.split(said):
        (rest if check(" ".join((*kept, sentence)), facts) else kept).append(sentence)
    return " ".join(kept), " ".join(rest)[:UNVERIFIED]


def _parsed(url: str) -> tuple[str, str, str]:
    """(base URL, model or "", host with port) of ``http(s)://host[:port]/path[#model]``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refusal("answerer URL", "it cannot be read", "write it like http://localhost:8080/v1#model") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refusal("answerer URL", "it is no http or https address", "write it like http://localhost:8080/v1#model")
    if parts.username is not None or parts.password is not None or parts.query:
        raise Refusal(
            f"answerer URL at {parts.hostname}", "it carries a name, a password or a query", "give the key as SERVAL_API_KEY"
        )
    host = f"{parts.hostname}:{port}" if port else parts.hostname
    model = parts.fragment.strip()
    if len(model) > 200 or one_line(model) != model:
        raise Refusal(f"answerer URL at {parts.hostname}", "its model name cannot be used", "name the model after a #")
    netloc = parts.netloc
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}", model, host


def _key(base: str, host: str) -> str:
    if own := os.environ.get("SERVAL_API_KEY"):
        return own
    private = base.startswith("https://") or (urlsplit(base).hostname or "") in _LOOPBACK
    return (os.environ.get("OPENAI_API_KEY") if private else None) or "none"


def _first(models: Sequence[Any]) -> str:
    names = [model.id for model in models if isinstance(model.id, str) and model.id]
    if not names:
        raise _Failed("it lists no model; name one after a # in its URL")
    return names[0]


def _in_our_words(error: Exception) -> str:
    import openai

    kinds = (
        (openai.APITimeoutError, "it did not answer in time"),
        (openai.APIConnectionError, "it cannot be reached"),
        (openai.AuthenticationError, "it refused the key"),
        (openai.PermissionDeniedError, "it refused the key"),
        (openai.NotFoundError, "it knows no such address or model"),
        (openai.RateLimitError, "it is too busy"),
        (openai.InternalServerError, "it failed inside"),
        (openai.APIStatusError, "it refused the request"),
    )
    return next((said for kind, said in kinds if isinstance(error, kind)), "its answer could not be read")
