"""Tokens one after the other, until the model ends its turn, enough have come, or someone says stop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from torch import Tensor

from serval.conversation.tokenizer import Tokenizer
from serval.language.generation.batch import generate_batch
from serval.language.generation.constraint import Constraint
from serval.language.generation.request import End, Reason, Request, Step
from serval.language.generation.sampling import Sampling
from serval.language.generation.session import Session


def generate(
    session: Session,
    prompt: Sequence[int],
    *,
    stops: Collection[int],
    most: int,
    sampling: Sampling | None = None,
    constraint: Constraint | None = None,
    before: Sequence[int] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Read ``prompt`` and give the tokens that follow, as they come; see `Request`.

    Args:
        cancelled: asked before every token, and between the pieces of a long prompt; when it says so, nothing more comes.

    Raises:
        Refusal: the conversation outgrows its session, the model's numbers are not finite, or the constraint leads nowhere.
    """
    request = Request(prompt, most, stops, (), sampling or Sampling(), constraint, before=before)
    for event in stream(session, request, cancelled=cancelled):
        if isinstance(event, Step):
            yield event.token


def stream(
    session: Session, request: Request, *, tokenizer: Tokenizer | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Step | End]:
    """What `generate` gives, step by step with all there is to tell, and why it ends. Raises `Refusal` as that does."""
    for event in generate_batch(_Alone(session), [request], tokenizer=tokenizer, cancelled=lambda row: cancelled()):
        if isinstance(event, End) and event.refusal is not None:
            raise event.refusal
        yield event


def say(
    session: Session,
    request: Request,
    tokenizer: Tokenizer,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    on_text: Callable[[str], None] = lambda text: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_end: Callable[[int, Reason], None] = lambda made, reason: None,
) -> str:
    """The text of a `stream`. ``on_text`` is told it piece by piece and ``on_step`` token by token; ``on_end`` is told how many
    those were, and why no more came. Raises `Refusal` as `generate`."""
    said, made = [], 0
    for event in stream(session, request, tokenizer=tokenizer, cancelled=cancelled):
        if event.text:
            said.append(event.text)
            on_text(event.text)
        if isinstance(event, Step):
            made += 1
            on_step(event)
        else:
            on_end(made, event.reason)
    return "".join(said)


class _Alone:
    """A session as a batch of one row."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def room(self) -> int | None:
        return getattr(self._session, "room", None)

    def read(self, ids: Tensor, valid: Tensor | None = None) -> Tensor:
        return self._session.read(ids[0].tolist())[None]

    def select(self, rows: Tensor) -> None:
        raise ValueError("there is one row only")
