"""Who speaks and who listens: two lanes of one model that change places (VITA, arXiv:2408.05211, its duplex deployment).

Pure: events in, actions out, and no clock, thread or model. The lane that speaks is never asked to judge, so it is heard on
while the other finds out whether what came in was meant for it; only when it was, the first is silenced.

    idle ── heard ──▶ the other lane judges ── not meant for it ──▶ forgotten, nothing has changed
                                            └─ a question ──▶ who spoke is hushed, the lanes change places

In the paper's release the turn to judge goes to the other worker after every request, noise too, so a noise while A speaks
leaves the next question to A itself, which is busy. Here it goes on only with the word: consecutive questions alternate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, TypeVar

Request = TypeVar("Request")
Item = TypeVar("Item")


class Turn(NamedTuple):
    """A request in the hands of a lane, 0 or 1. ``number`` counts requests from 0."""

    number: int
    lane: int


@dataclass(frozen=True)
class Action(Generic[Request]):
    """What is to be done now.

    - "judge": read the request behind what was said so far, and find out whether it is for the assistant;
    - "forget": what was read for it goes, and nothing was ever said;
    - "hush": generate no further token of it, and play no further word;
    - "speak": go on from what was read to the answer.
    - "drop": too many wait; nobody will look at it.
    """

    does: Literal["judge", "forget", "hush", "speak", "drop"]
    turn: Turn
    request: Request


@dataclass
class Duplex(Generic[Request]):
    """The state. Every method gives the actions that follow, in order.

    Attributes:
        most: requests that may wait while another is judged; of more, the oldest is dropped, which is the least of use.
        speaking: whose words are heard.
        judging: what the other lane reads.
        spoke: the lane that spoke last, or speaks.
    """

    most: int = 4
    speaking: Turn | None = None
    judging: Turn | None = None
    spoke: int = 1
    _count: int = 0
    _requests: dict[int, Request] = field(default_factory=dict)
    _waiting: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError("A request must be able to wait.")

    @property
    def waiting(self) -> int:
        """Requests that nobody has taken yet."""
        return len(self._waiting)

    def request(self, turn: Turn) -> Request:
        """Of a turn that judges, speaks or waits."""
        return self._requests[turn.number]

    def heard(self, request: Request) -> list[Action[Request]]:
        """A request came in."""
        self._requests[self._count] = request
        self._waiting.append(self._count)
        self._count += 1
        actions = self._next()
        if len(self._waiting) > self.most:
            actions.append(self._action("drop", Turn(self._waiting.popleft(), 1 - self.spoke), done=True))
        return actions

    def judged(self, addressed: bool) -> list[Action[Request]]:
        """The lane that judges has found out. Raises ``ValueError`` if none does."""
        if self.judging is None:
            raise ValueError("Nothing is being judged.")
        turn, self.judging = self.judging, None
        if not addressed:
            return [self._action("forget", turn, done=True), *self._next()]
        actions = []
        if self.speaking is not None:
            actions.append(self._action("hush", self.speaking, done=True))
        self.speaking, self.spoke = turn, turn.lane
        return [*actions, self._action("speak", turn), *self._next()]

    def ended(self, number: int) -> list[Action[Request]]:
        """All of an answer has been said; of one that was hushed nothing follows."""
        if self.speaking is not None and self.speaking.number == number:
            del self._requests[number]
            self.speaking = None
        return []

    def _next(self) -> list[Action[Request]]:
        if self.judging is not None or not self._waiting:
            return []
        self.judging = Turn(self._waiting.popleft(), 1 - self.spoke)
        return [self._action("judge", self.judging)]

    def _action(
        self, does: Literal["judge", "forget", "hush", "speak", "drop"], turn: Turn, done: bool = False
    ) -> Action[Request]:
        request = self._requests.pop(turn.number) if done else self._requests[turn.number]
        return Action(does, turn, request)


class SpeechQueue(Generic[Item]):
    """Words on their way to a voice, of one turn at a time: of a turn that was hushed none is ever given out.

    Args:
        most: items that may wait. Whoever speaks waits when it is full, so that a silenced answer was never far ahead.
    """

    def __init__(self, most: int = 64) -> None:
        self._items: deque[Item] = deque()
        self._most, self._turn = most, -1

    def begin(self, turn: int) -> None:
        """From now on only words of this turn; others go."""
        self._items.clear()
        self._turn = turn

    def put(self, turn: int, item: Item) -> bool:
        """Whether there was room. Of another turn than the one that speaks, it goes without a trace."""
        if turn != self._turn:
            return True
        if len(self._items) >= self._most:
            return False
        self._items.append(item)
        return True

    def take(self) -> Item | None:
        """The next word; None where nothing waits."""
        return self._items.popleft() if self._items else None

    def __len__(self) -> int:
        return len(self._items)
