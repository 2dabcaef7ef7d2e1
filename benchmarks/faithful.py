"""How faithful each answerer is to the facts it was given, and how long it takes."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.table import Cell, Result, Table, Target
from benchmarks.timing import percentile, steps
from benchmarks.wakes import Listening, recorded

NAME = "faithful"
ABOUT = "The share of sentences that say only what the facts hold, per answerer"
_EXAMPLES = 8
_PLAIN, _RAW, _GUARDED = "template", "smollm2, unchecked", "smollm2"


class Unchecked:
    """What the small model says when nobody checks it, asked in the words of the checked one."""

    def __init__(self) -> None:
        from serval.assistant.answers.template import TemplateAnswerer
        from serval.language.chat_model import ChatModel

        self.name = _RAW
        self._model, self._template = ChatModel.open(part="smollm2"), TemplateAnswerer()
        self.models = {"answerer": self._model.model_id}

    def answer(self, request: Any, cancelled: Callable[[], bool] = lambda: False) -> Any:
        from serval.assistant.answers.answer import Answer
        from serval.assistant.answers.rewrite import ASKED, tidy
        from serval.conversation.messages import Message

        began = time.perf_counter()
        plain = self._template.answer(request).text
        said = self._model.reply(
            [Message.of("system", ASKED), Message.of("user", plain)], max_tokens=64, stop=("\n",), cancelled=cancelled
        )
        seconds = time.perf_counter() - began
        return Answer(tidy(said), self.name, verified=False, seconds=seconds, first_word_seconds=seconds)


@dataclass(frozen=True)
class Measured:
    """One answerer over all requests; ``said`` holds its answers in their order."""

    found: Any  # serval.assistant.answers.faithful.Faithfulness
    said: list[Any]

    def row(self, plain: list[str]) -> tuple[Cell, ...]:
        from serval.assistant.answers.rewrite import words_of

        found, seconds = self.found, [each.seconds for each in self.said]
        own = sum(words_of(each.text) != words_of(words) for each, words in zip(self.said, plain, strict=True))
        return (
            found.by,
            found.answers,
            found.faithful,
            100 * found.share,
            100 * own / max(1, found.answers),
            statistics.median(seconds),
            percentile(seconds, 95),
        )


def run(quick: bool) -> Result:
    from serval.assistant.answers.build import build_answerer
    from serval.assistant.answers.faithful import faithfulness

    asked, missing = recorded(quick)
    requests = [request for each in asked.values() for request in each]
    requests = requests[:6] if quick else requests
    measured: dict[str, Measured] = {}
    answerers: tuple[Callable[[], Any], ...] = (
        partial(build_answerer, "template"),
        Unchecked,
        partial(build_answerer, "smollm2"),
    )
    for make in steps(answerers, f"{len(requests)} requests to each answerer"):
        listening = Listening(make())
        found = faithfulness(listening, requests)
        measured[found.by] = Measured(found, listening.said)
    plain = [answer.text for answer in measured[_PLAIN].said]
    own = "own words (%)"
    shares = Table(
        "Faithful sentences",
        ("answerer", "answers", "faithful", "faithful (%)", own, "median (s)", "p95 (s)"),
        tuple(each.row(plain) for each in measured.values()),
        note=f"“{own[:-4]}” is the share of answers that differ from the template's sentence. The template's words are its own "
        "by definition, which this column counts as none.",
    )
    guarded, raw = measured[_GUARDED].said, measured[_RAW].said
    fates = Counter(_kind(answer.why) for answer in guarded)
    heard = Table(
        "What became of the rewrites",
        ("the checked model's rewrite", "answers"),
        tuple(fates.most_common()),
    )
    return Result(
        tables=(shares, heard, _examples(plain, raw, guarded), _sources(asked)),
        method="Requests recorded from watches of real clips and of scripted worlds, with each instruction's own gate and with "
        "one that asks every two seconds; each set of facts once. Every answerer gets the same requests. A sentence is "
        "faithful when the checker finds no noun, number, place, action or quotation in it that the facts do not hold. The "
        "checked model is held to the same checker before it is heard, so its share is by construction; what is measured of "
        "it is how often its own words survive, and what that costs. Faithful to the facts is not yet true of the picture: "
        "the facts are only as good as the detectors."
        + (f" Left out, because their parts were not fetched: {', '.join(missing)}." if missing else ""),
        targets=tuple(
            Target(f"faithful sentences, {name}", 100 * measured[name].found.share, 100.0, "%", at_least=True)
            for name in (_PLAIN, _GUARDED)
        ),
        data={
            "answers": [
                {"template": one, "unchecked": two.text, "checked": three.text, "why": three.why}
                for one, two, three in zip(plain, raw, guarded, strict=True)
            ],
            "unsupported": [[said, list(problems)] for said, problems in measured[_RAW].found.unsupported],
        },
    )


def _kind(why: str) -> str:
    if not why:
        return "heard"
    return next((kind for kind in ("not supported", "left out", "kept the words") if kind in why), why)


def _examples(plain: list[str], raw: list[Any], guarded: list[Any]) -> Table:
    """Some of each fate, each sentence once."""
    rows: dict[str, tuple[Cell, ...]] = {}
    seen: dict[str, int] = {}
    for words, loose, checked in zip(plain, raw, guarded, strict=True):
        kind = _kind(checked.why)
        if words not in rows and seen.get(kind, 0) < _EXAMPLES // 3 + 1:
            seen[kind] = seen.get(kind, 0) + 1
            rows[words] = (words, loose.text, checked.why or "heard")
    return Table("Examples", ("template", "the model's rewrite", "verdict"), tuple(rows.values()))


def _sources(asked: dict[str, list[Any]]) -> Table:
    return Table(
        "Where the requests come from", ("watched", "requests"), tuple((name, len(each)) for name, each in asked.items())
    )
