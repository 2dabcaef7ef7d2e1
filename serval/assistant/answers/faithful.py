"""How faithful an answerer is: the share of its answers in which the checker finds nothing that the facts do not hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from serval.assistant.answers.answer import Answerer, Request
from serval.assistant.answers.checker import check


@dataclass(frozen=True)
class Faithfulness:
    """Counts over the answers of one answerer. ``unsupported`` lists (what was said, what of it no fact holds)."""

    by: str
    answers: int
    faithful: int
    own_words: int  # answers whose words are the answerer's own and not the template's, because it had to step in
    unsupported: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def share(self) -> float:
        """Of answers with nothing unsupported, 0 to 1; 1 when there are none."""
        return self.faithful / self.answers if self.answers else 1.0


def faithfulness(answerer: Answerer, requests: Iterable[Request]) -> Faithfulness:
    """Let ``answerer`` answer every request and check all that it says, what it marks as unverified included."""
    answers = own = 0
    wrong = []
    for request in requests:
        answer = answerer.answer(request)
        answers += 1
        own += answer.by == answerer.name
        said = " ".join(part for part in (answer.text, answer.unverified) if part)
        if problems := check(said, request.facts):
            wrong.append((said, tuple(problems)))
    return Faithfulness(answerer.name, answers, answers - len(wrong), own, tuple(wrong))
