"""Beam search: the likeliest whole replies, rather than the likeliest token every time (Graves 2012, arXiv:1211.3711, 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from serval.language.generation.session import PIECE, BatchSession, check_room
from serval.refusal import Refusal


@dataclass(frozen=True)
class Beam:
    """A reply.

    Attributes:
        tokens: without the stop token.
        score: the sum of the tokens' logprobs, that of the stop token included, divided by their number to the power of the
            length penalty.
        ended: a stop token ended it; otherwise there was no room for more.
    """

    tokens: tuple[int, ...]
    score: float
    ended: bool


def beam_search(
    session: BatchSession,
    prompt: Sequence[int],
    *,
    beams: int,
    most: int,
    stops: Collection[int] = (),
    length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Beam]:
    """The best ``beams`` replies to ``prompt`` that were found, best first. Ids and scores are those of transformers.

    Args:
        session: of one row; the beams become rows of it.
        length_penalty: above 0 long replies are preferred, since logprobs are below 0; 0 leaves sums as they are.
        early_stopping: whether to end as soon as there are ``beams`` replies. False ends when the best reply under way is
            worse as it stands than all those, "never" only when it could not become better by growing to ``most`` tokens.
        cancelled: asked before every token; then the replies that ended so far are all.

    Raises:
        Refusal: ``beams`` is below 1, prompt and reply are longer than the session can hold, or the model's numbers are not
            finite.
    """
    if beams < 1:
        raise Refusal("beam search", f"{beams} beams find nothing", "give at least 1")
    if not prompt:
        raise ValueError("there is nothing to follow: the prompt has no token")
    check_room(session, prompt, most)
    candidates = max(2, 1 + len(stops)) * beams  # so many that some go on though all of the best may end
    under_way: list[tuple[int, ...]] = [()]
    ended: list[Beam] = []
    scores, unread = torch.zeros(1, 1), torch.tensor([list(prompt)])
    for length in range(1, most + 1):
        for piece in torch.split(unread, PIECE, dim=1):
            if cancelled():
                return ended
            logits = session.read(piece).float()
        if not bool(torch.isfinite(logits).all()):
            raise Refusal("the language model", "its numbers are not finite", "fetch its weights again")
        sums = (logits.log_softmax(dim=-1) + scores.to(logits.device)).flatten()
        best = sums.topk(min(candidates, len(sums)))
        going_on: list[tuple[int, int, float]] = []
        for rank, (place, total) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
            row, token = divmod(place, logits.shape[1])
            stops_here = token in stops
            if not stops_here and length < most:
                going_on.append((row, token, total))
            elif rank < beams:
                tokens = under_way[row] if stops_here else (*under_way[row], token)
                ended.append(Beam(tokens, total / length**length_penalty, stops_here))
        going_on = going_on[:beams]
        ended = sorted(ended, key=lambda beam: -beam.score)[:beams]
        if not going_on or (len(ended) == beams and early_stopping is True):
            break
        hoped = most if early_stopping == "never" and length_penalty > 0 else length
        if len(ended) == beams and going_on[0][2] / hoped**length_penalty <= ended[-1].score:
            break
        under_way = [(*under_way[row], token) for row, token, _ in going_on]
        scores = torch.tensor([[total] for _, _, total in going_on])
        session.select(torch.tensor([row for row, _, _ in going_on]))
        unread = torch.tensor([[token] for _, token, _ in going_on])
    return ended
