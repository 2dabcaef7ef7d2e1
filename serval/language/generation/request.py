"""What is asked of a model after a prompt, and what it gives: a step for every token, and one end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from serval.language.generation.constraint import Constraint
from serval.language.generation.sampling import Sampling
from serval.refusal import Refusal

Reason = Literal["stop", "complete", "length", "cancelled", "refused"]


@dataclass(frozen=True)
class Request:
    """What is to follow one prompt.

    Attributes:
        prompt: tokens to read, at least one.
        most: how many tokens may follow.
        stops: tokens that end the turn; they are not given.
        stop_texts: texts before which the turn ends; they ask for a tokenizer.
        sampling: how tokens are picked.
        constraint: what the text has to be.
        logprobs: how many of the likeliest tokens are told with each step; with 0 only the step's own logarithm of
            probability, with None not even that.
        before: tokens that the session has read already, for the repetition penalty.
    """

    prompt: Sequence[int]
    most: int
    stops: Collection[int] = ()
    stop_texts: Sequence[str] = ()
    sampling: Sampling = Sampling()  # noqa: RUF009 - it is frozen
    constraint: Constraint | None = None
    logprobs: int | None = None
    before: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("there is nothing to follow: the prompt has no token")


@dataclass(frozen=True)
class Step:
    """One more token of a row.

    Attributes:
        text: what may be said now; "" without a tokenizer.
        logprob: of the token, as the model alone has it: before penalty, constraint and temperature.
        top: the likeliest tokens and their logprobs, likeliest first.
    """

    row: int
    token: int
    text: str = ""
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class End:
    """The last of a row. Every row has exactly one.

    Attributes:
        reason: a stop token or text; the constraint lets nothing more come; as many tokens as may follow have come; it was
            cancelled; or refused, and then ``refusal`` tells why.
        text: what was held back for a stop text that did not come.
    """

    row: int
    reason: Reason
    text: str = ""
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Spent:
    """What a reply came to.

    Attributes:
        read: tokens of the whole prompt, whether or not they had been read before.
        made: tokens that followed; one that ends the turn is not among them.
        reason: why no more came, see `End`.
    """

    read: int
    made: int
    reason: Reason
