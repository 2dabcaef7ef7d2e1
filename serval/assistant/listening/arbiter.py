"""Who speaks next: the user, the answer to what he asked, or something that happened; one voice, and one place that decides.

Pure: events in with their time, decisions out, no thread, clock or model. Whoever holds the voice follows the decisions.

    the user speaks ──▶ whoever speaks is interrupted, everything else is held until he has ended
    words come      ──▶ nobody speaks: spoken │ more urgent than what is spoken, and as urgent as an answer: that is interrupted
                        otherwise: held, and dropped when they have gone stale
    somebody ends   ──▶ the most urgent words that wait; alerts as urgent as they are merged with them into one utterance
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

ANSWER = 5
"""How urgent an answer is, on the scale of priorities of instructions (-10 to 10). What is more urgent interrupts it."""

_REMEMBERED = 1024  # names of what was spoken or dropped, so that nothing is spoken twice
_MERGED = 4  # alerts of one utterance at the most; a longer one is listened to by nobody

Does = Literal["speak", "interrupt", "hold", "merge", "drop"]


@dataclass(frozen=True)
class Words:
    """What wants to be spoken.

    Attributes:
        id: its name; words of a name that came before are not spoken again.
        at: seconds at which it became true.
        fresh: seconds after that for which it is worth saying, if it has not begun by then.
        answer: whether somebody asked for it. A newer answer takes the place of an older one.
    """

    id: str
    text: str = ""
    urgency: int = ANSWER
    at: float = 0.0
    fresh: float = 30.0
    answer: bool = False


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why. Everything that came in is in the end spoken, merged or dropped; once.

    - "speak": say ``words``, in their order, as one utterance whose name is that of the first;
    - "interrupt": no further word of them;
    - "hold": they wait;
    - "merge": they will be spoken within the utterance of ``into``;
    - "drop": they are never spoken.
    """

    does: Does
    words: tuple[Words, ...]
    time: float
    why: str
    into: str = ""

    def record(self) -> dict[str, Any]:
        """As data of a timeline's event."""
        kept = {"decision": self.does, "why": self.why, "words": [each.id for each in self.words], "at": round(self.time, 3)}
        return {**kept, "into": self.into} if self.into else kept


@dataclass
class Arbiter:
    """The state. Every method gives the decisions that follow, in order.

    Attributes:
        most: words that may wait; of more, the least urgent go, and of equally urgent ones the oldest.
        speaking: what is being spoken.
        user: whether the user speaks.
    """

    most: int = 8
    speaking: tuple[Words, ...] = ()
    user: bool = False
    _waiting: list[Words] = field(default_factory=list)
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError("Words must be able to wait.")

    @property
    def waiting(self) -> tuple[Words, ...]:
        """What is held, the most urgent first."""
        return tuple(self._waiting)

    def speech_started(self, now: float) -> list[Decision]:
        """The user begins to speak: he is let speak."""
        self.user = True
        return self._interrupted(now, "the user speaks")

    def speech_stopped(self, now: float) -> list[Decision]:
        """He has ended, or it was no speech."""
        self.user = False
        return self.tick(now)

    def wants(self, words: Words, now: float) -> list[Decision]:
        """Words that came up."""
        if words.id in self._known:
            return [Decision("drop", (words,), now, "known already")]
        self._remember(words.id)
        if words.at + words.fresh < now:  # before it interrupts anybody
            return [Decision("drop", (words,), now, "stale")]
        decisions = []
        if words.answer:  # the question before it is no longer asked
            for older in [each for each in self._waiting if each.answer]:
                self._waiting.remove(older)
                decisions.append(Decision("drop", (older,), now, "another answer took its place"))
            if self.speaking and self.speaking[0].answer:
                decisions += self._interrupted(now, "another answer takes its place")
        at = next((i for i, each in enumerate(self._waiting) if each.urgency < words.urgency), len(self._waiting))
        self._waiting.insert(at, words)
        spoken = self.speaking[0].urgency if self.speaking else None
        if spoken is not None and not self.user and words.urgency >= ANSWER and words.urgency > spoken and at == 0:
            decisions += self._interrupted(now, "something more urgent")
        decisions += self.tick(now)
        if words in self._waiting:
            decisions.append(Decision("hold", (words,), now, "the user speaks" if self.user else "something else is spoken"))
        if len(self._waiting) > self.most:
            least = self._waiting[-1].urgency
            gone = next(each for each in self._waiting if each.urgency == least)
            self._waiting.remove(gone)
            decisions.append(Decision("drop", (gone,), now, "too much waits"))
        return decisions

    def ended(self, name: str, now: float) -> list[Decision]:
        """All of an utterance was heard, or whoever spoke it gave it up. Of one that does not speak, nothing follows."""
        if not self.speaking or self.speaking[0].id != name:
            return []
        self.speaking = ()
        return self.tick(now)

    def withdrawn(self, name: str, now: float) -> list[Decision]:
        """Nobody wants these words any more, whether they wait or are being spoken."""
        for each in self._waiting:
            if each.id == name:
                self._waiting.remove(each)
                return [Decision("drop", (each,), now, "nobody wants it any more")]
        if self.speaking and self.speaking[0].id == name:
            return [*self._interrupted(now, "nobody wants it any more"), *self.tick(now)]
        return []

    def tick(self, now: float) -> list[Decision]:
        """Time has passed: what is stale goes, and if nobody speaks, somebody may."""
        decisions = []
        for each in [each for each in self._waiting if each.at + each.fresh < now]:
            self._waiting.remove(each)
            decisions.append(Decision("drop", (each,), now, "stale"))
        if self.user or self.speaking or not self._waiting:
            return decisions
        first = self._waiting[0]
        alike = [each for each in self._waiting if each.urgency == first.urgency and not (each.answer or first.answer)]
        together = tuple(sorted(alike[:_MERGED], key=lambda each: each.at)) or (first,)
        self._waiting = [each for each in self._waiting if each not in together]
        if len(together) > 1:
            decisions.append(Decision("merge", together[1:], now, "they waited together", into=together[0].id))
        self.speaking = together
        return [*decisions, Decision("speak", together, now, "nobody else speaks")]

    def _interrupted(self, now: float, why: str) -> list[Decision]:
        if not self.speaking:
            return []
        gone, self.speaking = self.speaking, ()
        return [Decision("interrupt", gone, now, why)]

    def _remember(self, name: str) -> None:
        self._known[name] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
