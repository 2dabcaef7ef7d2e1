"""Tokens for several conversations at once: each row has its own settings, its own chance and its own end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isfinite

import torch
from torch import Tensor

from serval.conversation.tokenizer import Tokenizer
from serval.language.generation.request import End, Reason, Request, Step
from serval.language.generation.sampling import Sampler
from serval.language.generation.session import PIECE, BatchSession, check_room
from serval.language.generation.stop_text import ReplyText
from serval.refusal import Refusal


def generate_batch(
    session: BatchSession,
    requests: Sequence[Request],
    *,
    tokenizer: Tokenizer | None = None,
    cancelled: Callable[[int], bool] = lambda row: False,
) -> Iterator[Step | End]:
    """Read all prompts at once and give what follows each, row by row as it comes.

    What a row gets does not depend on its company: it has its own chance, and its own end, after which it takes no more time.

    Args:
        session: with as many rows as there are requests.
        tokenizer: for the text of the steps.
        cancelled: asked for each row before every token and between the pieces of long prompts.

    Raises:
        Refusal: a prompt and what may follow it are longer than the session can hold. Nothing has been read then. What goes
            wrong in a row later ends this row alone, with a `Refusal` in its `End`.
    """
    for each in requests:
        check_room(session, each.prompt, each.most)
    batch = _Batch(session, [_Row(number, each, tokenizer) for number, each in enumerate(requests)])
    yield from batch.leave([row.done() for row in batch.rows])
    while batch.rows:
        yield from batch.leave([row.end("cancelled") if cancelled(row.number) else None for row in batch.rows])
        if batch.rows and batch.read():  # which takes a while, in which someone may have thought better of it
            yield from batch.leave([row.end("cancelled") if cancelled(row.number) else None for row in batch.rows])
            if batch.rows:
                yield from batch.pick()


class _Row:
    """One conversation of a batch, and what has come of it."""

    def __init__(self, number: int, request: Request, tokenizer: Tokenizer | None) -> None:
        if request.stop_texts and tokenizer is None:
            raise ValueError("stop texts ask for a tokenizer")
        self.number, self.request, self.given = number, request, 0
        self._reply = ReplyText(tokenizer, request.stop_texts) if tokenizer is not None else None
        self._held_to = request.constraint.begin() if request.constraint is not None else None

    def done(self) -> End | None:
        """Its end, when nothing more can come."""
        if self._reply is not None and self._reply.stopped:
            return self.end("stop")
        if self._held_to is not None and self._held_to.complete:
            return self.end("complete")
        return self.end("length") if self.given >= self.request.most else None

    def end(self, reason: Reason, refusal: Refusal | None = None) -> End:
        return End(self.number, reason, self._reply.end() if self._reply is not None else "", refusal)

    def allowed(self, vocabulary: int) -> Tensor | None:
        """(vocabulary,) bool, what may come next; None for anything."""
        if self._held_to is None:
            return None
        allowed = torch.zeros(vocabulary, dtype=torch.bool)
        known = self._held_to.allowed[:vocabulary]
        allowed[: len(known)] = known
        allowed[list(self.request.stops)] = self._held_to.may_end
        return allowed

    def take(self, token: int, logits: Tensor) -> Iterator[Step | End]:
        """The token that was picked by ``logits`` (vocabulary,): a step, an end, or both."""
        if token in self.request.stops:
            yield self.end("stop")
            return
        self.given += 1
        text = self._reply.add(token) if self._reply is not None else ""
        yield Step(self.number, token, text, *self._told(token, logits))
        try:
            if self._held_to is not None:
                self._held_to.add(token)
        except Refusal as refusal:
            yield self.end("refused", refusal)
            return
        if (end := self.done()) is not None:
            yield end

    def _told(self, token: int, logits: Tensor) -> tuple[float | None, tuple[tuple[int, float], ...]]:
        """The token's logprob, and the likeliest ones with theirs."""
        asked = self.request.logprobs
        if asked is None:
            return None, ()
        logprobs = logits.float().log_softmax(dim=-1)
        top = logprobs.topk(min(asked, len(logprobs)))
        return float(logprobs[token]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))


class _Batch:
    """The rows that go on, what is still to be read of them, and the logits of what follows."""

    def __init__(self, session: BatchSession, rows: list[_Row]) -> None:
        self.rows, self._session = rows, session
        requests = [row.request for row in rows]
        self._sampler = Sampler([each.sampling for each in requests], [[*each.before, *each.prompt] for each in requests])
        self._ids, self._valid = _left_padded([each.prompt for each in requests])
        self._logits = torch.empty(len(rows), 0)

    def leave(self, ends: Sequence[End | None]) -> list[End]:
        """The rows that have an end do not go on."""
        places = [place for place, end in enumerate(ends) if end is None]
        if len(places) < len(ends):
            self.rows = [self.rows[place] for place in places]
            if places:
                self._session.select(torch.tensor(places))
                self._sampler.select(places)
                self._ids, self._logits = self._ids[places], self._logits[places]
                self._valid = None if self._valid is None else self._valid[places]
        return [end for end in ends if end is not None]

    def read(self) -> bool:
        """Read one piece; whether there is no more of it."""
        valid = None if self._valid is None else self._valid[:, :PIECE]
        self._logits = self._session.read(self._ids[:, :PIECE], valid)
        self._ids = self._ids[:, PIECE:]
        self._valid = None if self._valid is None else self._valid[:, PIECE:]
        return not self._ids.shape[1]

    def pick(self) -> Iterator[Step | End]:
        """A token for each row."""
        masks = [row.allowed(self._logits.shape[1]) for row in self.rows]
        ends = [_refused(*each) for each in zip(self.rows, _finite(self._logits), masks, strict=True)]
        masks = [mask for mask, end in zip(masks, ends, strict=True) if end is None]
        yield from self.leave(ends)
        if not self.rows:
            return
        tokens = self._sampler(self._logits, self._together(masks))
        ends, logits = [], self._logits
        for place, (row, token) in enumerate(zip(self.rows, tokens, strict=True)):
            ends.append(None)
            for event in row.take(token, logits[place]):
                if isinstance(event, End):
                    ends[place] = event
                else:
                    yield event
        self._ids, self._valid = torch.tensor([[token] for token in tokens]), None
        yield from self.leave(ends)

    def _together(self, masks: Sequence[Tensor | None]) -> Tensor | None:
        """(batch, vocabulary) bool on the logits' device, or None where every token may come in every row."""
        if all(mask is None for mask in masks):
            return None
        anything = torch.ones(self._logits.shape[1], dtype=torch.bool)
        return torch.stack([anything if mask is None else mask for mask in masks]).to(self._logits.device)


def _finite(logits: Tensor) -> list[bool]:
    """Whether all numbers of a row are finite. Their sum, ten times as quick as a look at each, is not when one is not."""
    sums = logits.sum(dim=-1, dtype=torch.float32).tolist()
    return [isfinite(total) or bool(torch.isfinite(row).all()) for total, row in zip(sums, logits, strict=True)]


def _refused(row: _Row, finite: bool, allowed: Tensor | None) -> End | None:
    if not finite:
        return row.end("refused", Refusal("the language model", "its numbers are not finite", "fetch its weights again"))
    if allowed is not None and not bool(allowed.any()):
        return row.end("refused", Refusal("the constraint", "the model has no token that it allows", "make it wider"))
    return None


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """Ids (batch, longest), and which are not padding; None for all. Every row ends with a token of its own."""
    longest = max(map(len, prompts), default=0)
    ids = torch.tensor([[0] * (longest - len(each)) + list(each) for each in prompts], dtype=torch.long)
    if all(len(each) == longest for each in prompts):
        return ids, None
    missing = torch.tensor([[longest - len(each)] for each in prompts])
    return ids, torch.arange(longest) >= missing
