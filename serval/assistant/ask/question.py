"""A question in plain words, taken apart by a small grammar. No model: what it asks must never depend on chance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Asks(StrEnum):
    WHEN = "when"  # when did X happen
    HOW_MANY = "how many"  # how many X were there
    WHETHER = "whether"  # was there an X, did X leave
    WHERE = "where"  # where was X
    NEAR = "near"  # what was next to / left of / on X
    TEXT = "text"  # what did the sign say
    HAPPENED = "happened"  # what happened (in a span), who came in, what was taken
    SAID = "said"  # what did you say
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Question:
    """What is asked. Times are seconds on the run's clock; ``None`` where the question names none."""

    asks: Asks
    subject: str = ""  # noun phrase as the person said it, "" for anyone / anything
    action: str = ""  # change kind: appears, leaves, moves, put, taken
    relation: str = ""  # near, left, right, above, below, on
    after: float | None = None
    before: float | None = None
    at: float | None = None
    order: str = ""  # first, last
    text: str = ""


ACTIONS = {
    "appears": r"c[oa]mes? in(?:to view)?|came|come|coming|appear(?:s|ed)?|arrive[sd]?|enter(?:s|ed)?"
    r"|show(?:s|ed)? up|walk(?:s|ed)? in|pass(?:es|ed)? by|pass(?:es|ed)?|visible",
    "leaves": r"leaves?|left|(?:go|goes|went) (?:away|out)|gone|disappear(?:s|ed)?|(?:drives?|drove) off",
    "moves": r"move[sd]?|moving",
    "put": r"put down|put|place[sd]?|set down|drop(?:s|ped)?",
    "taken": r"take[sn]?|took|pick(?:s|ed)? up|remove[sd]?|grab(?:s|bed)?|steal[s]?|stole[n]?",
}
RELATIONS = {
    "near": r"next to|beside|near|close to|around|with|by",
    "left": r"(?:to the )?left of",
    "right": r"(?:to the )?right of",
    "above": r"above|over",
    "below": r"below|under|underneath|beneath",
    "on": r"on top of|on",
}
CLOCK = (
    r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds?)\b"
    r"|(?:(\d+(?:\.\d+)?)\s*(?:m|min|mins|minutes?)\b)"
)
ARTICLES = r"(?:the|a|an|any|some|that|this|those|these|my|your|his|her)\s+"


def seconds(groups: Sequence[str | None]) -> float:
    """Seconds of a `CLOCK` match's five groups: ``1:02:03``, ``2:03``, ``12.5 s``, ``3 minutes``."""
    hours, minutes, secs, plain, mins = groups
    if plain is not None:
        return float(plain)
    if mins is not None:
        return float(mins) * 60
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(secs or 0)


def parse(question: str) -> Question:
    """Take a question apart. Total: what is not understood comes back as `Asks.UNKNOWN` with the text kept."""
    text = re.sub(r"\s+", " ", question.strip().rstrip("?!. ").casefold()).replace("’", "'")
    text = re.sub(r"\bfrom (?=[\d:.]+[^,]*? (?:to|till|until) \d)", "between ", text)
    text = re.sub(r"(\bbetween [\d:.]+(?: ?[a-z]+)?) (?:to|till|until) (?=\d)", r"\1 and ", text)
    text = re.sub(r"\bbetween (\d+(?:\.\d+)?) and (\d+(?:\.\d+)?) ?([a-z]+)", r"between \1 \3 and \2 \3", text)
    spans: dict[str, float] = {}
    for word, slot in (("after|since", "after"), ("before|until|till", "before"), ("at|around|about", "at")):
        if found := re.search(rf"\b(?:{word})\s+(?:{CLOCK})", text):
            spans[slot] = seconds(found.groups())
            text = (text[: found.start()] + text[found.end() :]).strip()
    if found := re.search(rf"\bbetween\s+(?:{CLOCK})\s+and\s+(?:{CLOCK})", text):
        groups = found.groups()
        spans["after"], spans["before"] = (seconds(groups[:5]), seconds(groups[5:]))
        text = (text[: found.start()] + text[found.end() :]).strip()
    order = next((word for word in ("first", "last") if re.search(rf"\b{word}\b", text)), "")
    text = re.sub(r"\b(first|last|just now|so far|in the video|in the picture|in view|ever)\b", " ", text)
    text = re.sub(r"\s+", " ", text).strip()
    asks, subject, action, relation = _shape(text)
    return Question(
        asks, subject, action, relation, spans.get("after"), spans.get("before"), spans.get("at"), order, question.strip()
    )


def _shape(text: str) -> tuple[Asks, str, str, str]:
    """(what is asked, subject, action, relation) of a question stripped of its times."""
    if re.search(r"\bwhat (?:did|have) you (?:say|said|tell|told)|\bdid you say", text):
        return Asks.SAID, "", "", ""
    if re.search(r"\b(?:what|which)\b.*\b(?:say|says|said|read|reads|written|text|word|words)\b", text):
        return (
            Asks.TEXT,
            _noun(
                re.sub(
                    r"\b(?:what|which|did|does|do|was|is|say|says|said|read|reads|written|text|words?|on|there)\b", " ", text
                )
            ),
            "",
            "",
        )
    if found := re.match(r"(?:what|who|which \w+)(?: \w+)?(?: was| is| were| are|'s)?(?: there)? (.*)", text):
        for relation in ("left", "right", "above", "below", "on", "near"):
            if near := re.search(rf"\b(?:{RELATIONS[relation]}) ((?:{ARTICLES})?.+)$", text):
                if relation in ("on", "near") and re.search(r"\b(?:happen|going)", text):
                    break
                return Asks.NEAR, _noun(near.group(1)), "", relation
    if re.search(r"\bmiss(?:ed)? (?:any|some)thing\b", text):
        return Asks.HAPPENED, "", "", ""
    if found := re.match(r"(?:at what time|what time|when) (.*)", text):
        subject, action = _clause(found.group(1))
        return Asks.WHEN, subject, action, ""
    if found := re.match(r"how (?:many|much)(?: times)? (.*)", text):
        subject, action = _clause(found.group(1))
        return Asks.HOW_MANY, subject, action, ""
    if found := re.match(r"where (.*)", text):
        return Asks.WHERE, _clause(found.group(1))[0], "", ""
    if re.search(
        r"\b(?:what|anything|something)\b.*\b(?:happen(?:s|ed|ing)?|going on|went on|see|saw|seen|changed?|miss(?:ed)?)\b", text
    ):
        return Asks.HAPPENED, "", "", ""
    if found := re.match(r"(?:who|what)(?:'s| has| was| is| were)? (.*)", text):
        subject, action = _clause(found.group(1))
        if action:
            return Asks.HAPPENED, "person" if text.startswith("who") and action != "taken" else subject, action, ""
        if text.startswith("who"):
            return Asks.HAPPENED, "person", "", ""
    if found := re.match(r"(?:did|has|have|was|were|is|are|does|do|could) (.*)", text):
        subject, action = _clause(found.group(1))
        return Asks.WHETHER, subject, action, ""
    return Asks.UNKNOWN, "", "", ""


def _clause(text: str) -> tuple[str, str]:
    """(noun phrase, change kind) of "did the dog leave", "a taxi visible", "people were there"."""
    text = re.sub(r"^(?:did|do|does|was|were|is|are|has|have|had|there|you see|we see) ", "", text).strip()
    text = re.sub(r"^(?:there|you see|we see|see) ", "", text)
    for kind, pattern in ACTIONS.items():
        if found := re.search(rf"\b(?:{pattern})\b", text):
            return _noun(text[: found.start()]) or _noun(text[found.end() :]), kind
    return _noun(text), ""


def _noun(text: str) -> str:
    """The bare noun phrase: articles, auxiliaries and trailing adverbs gone."""
    text = re.sub(rf"\b{ARTICLES}", " ", f"{text} ")
    text = re.sub(
        r"\b(?:was|were|is|are|be|been|being|has|have|had|did|do|does|there|in|at|to|then|it|seen|see|visible|of|you|we|i)\b",
        " ",
        text,
    )
    text = re.sub(r"[^\w\s'-]", " ", text)
    text = re.sub(r"\s+", " ", text).strip()
    return (
        ""
        if text in {"anyone", "anybody", "anything", "something", "someone", "somebody", "everything", "what", "who"}
        else text
    )
