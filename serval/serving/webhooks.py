"""Events told to other programs: signed, retried, at least once, whatever dies meanwhile.

What is to be told is noted in a file of its own before it is sent. While that file cannot be written, events wait to be noted;
what was on a timeline but not noted when the service died is found again when it starts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import (
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as insert_new
from sqlalchemy.exc import SQLAlchemyError

from serval.assistant.event import Event, EventKind
from serval.assistant.timeline.database import open_sqlite, told_plainly
from serval.refusal import Refusal
from serval.serving.outgoing import Target, post, target

log = logging.getLogger(__name__)

FIRST, LONGEST = 1.0, 3600.0  # seconds before the second try, and between two later ones
_MOST = 10_000  # events that wait for one webhook; the oldest go
_BEHIND = 1000  # events that wait to be noted; the oldest go, to be found again when the service starts
_WAIT = 2.0  # seconds that the file may be locked
_LATER = 10.0  # seconds before a file that failed is tried again

tables = MetaData()
hooks = Table(
    "hooks",
    tables,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False, index=True),
    Column("url", String, nullable=False),
    Column("kinds", String, nullable=False),
    Column("secret", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("lost", Integer, nullable=False, default=0),
)
waiting = Table(
    "waiting",
    tables,
    Column("seq", Integer, primary_key=True),
    Column("hook", String, nullable=False, index=True),
    Column("event", String, nullable=False),
    Column("body", String, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, default=0.0),
    Column("sent", Float),
    UniqueConstraint("hook", "event"),
)


class Webhook(BaseModel):
    """Where events are told. ``secret`` signs them: it is shown to its owner, and never sent along."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    url: str
    kinds: tuple[EventKind, ...]
    secret: str
    created: float
    waiting: int = 0
    lost: int = 0


def signature(secret: str, number: str, sent: int, body: bytes) -> str:
    """As the Standard Webhooks convention has it: HMAC-SHA256 of ``id.timestamp.body``, base64, after ``v1,``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{number}.{sent}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


Post = Callable[[Target, bytes, dict[str, str]], int]
_FAULTS = (Refusal, SQLAlchemyError, ValueError)  # of a file that is locked, full or damaged


class Webhooks:
    """All of a service. One thread sends; whoever is slow or gone is tried again later, and later still.

    Args:
        allowed: origins that may be called.
        now: seconds since the epoch.

    Attributes:
        late: events that could not be noted when they were told.
    """

    def __init__(
        self,
        folder: Path,
        allowed: tuple[str, ...],
        *,
        send: Post = post,
        resolve: Callable[[str, int], list[str]] | None = None,
        now: Callable[[], float] = time.time,
        most: int = _MOST,
    ) -> None:
        self._allowed, self._send, self._now, self._most = allowed, send, now, most
        self._more: dict[str, Any] = {} if resolve is None else {"resolve": resolve}
        self._engine = open_sqlite(folder / "webhooks.sqlite", write=True, wait=_WAIT, synchronous="FULL")
        with told_plainly("webhooks"), self._engine.begin() as connection:
            tables.create_all(connection)
        self._changed, self._closed = threading.Condition(), False
        self._behind: deque[tuple[str, str, Event, float]] = deque(maxlen=_BEHIND)
        self._guard, self._ill, self.late = threading.Lock(), False, 0
        self._told: set[tuple[str, str]] = set()  # what was sent to whom, which could not be noted
        self._thread: threading.Thread | None = None

    def add(self, owner: str, url: str, kinds: Iterable[EventKind]) -> Webhook:
        """Raises `Refusal` for an address that may not be called."""
        target(url, self._allowed, **self._more)
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        made = Webhook(id=secrets.token_hex(8), owner=owner, url=url, kinds=tuple(kinds), secret=secret, created=self._now())
        with self._engine.begin() as connection:
            row = made.model_dump(exclude={"waiting"})
            connection.execute(insert(hooks).values(**{**row, "kinds": json.dumps(row["kinds"])}))
        return made

    def held(self, owner: str | None = None) -> list[Webhook]:
        """Of one person, or all."""
        query = select(hooks) if owner is None else select(hooks).where(hooks.c.owner == owner)
        count = select(waiting.c.hook, func.count()).where(waiting.c.sent.is_(None)).group_by(waiting.c.hook)
        with self._engine.execution_options(reading=True).begin() as connection:
            open_ = {str(name): int(number) for name, number in connection.execute(count)}
            rows = [dict(row._mapping) for row in connection.execute(query.order_by(hooks.c.created))]
        return [
            Webhook.model_validate({**row, "kinds": json.loads(row["kinds"]), "waiting": open_.get(row["id"], 0)})
            for row in rows
        ]

    def remove(self, owner: str, number: str) -> bool:
        """And all that waits for it. False where this person has none of this id."""
        with self._engine.begin() as connection:
            gone = connection.execute(delete(hooks).where(hooks.c.id == number, hooks.c.owner == owner)).rowcount
            if gone:
                connection.execute(delete(waiting).where(waiting.c.hook == number))
        return bool(gone)

    def note(self, owner: str, stream: str, event: Event, said: float | None = None) -> None:
        """Something was told on a stream of this person; what was noted before is not noted again.

        Whoever tells is held up by no fault of the file: what cannot be noted now is noted by `deliver`, in its turn.

        Args:
            said: when, in seconds since the epoch; what is older than a webhook is not for it.
        """
        if not self._is_late(owner, stream, event, said):
            try:
                self._note(owner, stream, event, said)
            except _FAULTS as error:
                self._fell_ill(error)
                self._is_late(owner, stream, event, said, whether=True)
        with self._changed:
            self._changed.notify_all()

    def _is_late(self, owner: str, stream: str, event: Event, said: float | None, whether: bool = False) -> bool:
        """Have it wait behind what could not be noted, where anything could not."""
        with self._guard:
            late = whether or bool(self._behind)
            if late:
                self._behind.append((owner, stream, event, self._now() if said is None else said))
                self.late += 1
            return late

    def _note(self, owner: str, stream: str, event: Event, said: float | None) -> None:
        with told_plainly("webhooks"):
            hooks_ = self.held(owner)
        for hook in hooks_:
            if event.kind not in hook.kinds or (said is not None and said < hook.created):
                continue
            body = {"type": f"serval.{event.kind}", "stream": stream, "event": event.model_dump(mode="json")}
            row = {"hook": hook.id, "event": f"{stream}/{event.id}", "body": json.dumps(body), "due": 0.0, "tries": 0}
            with told_plainly("webhooks"), self._engine.begin() as connection:
                connection.execute(insert_new(waiting).values(**row).on_conflict_do_nothing())
                newest = select(waiting.c.seq).where(waiting.c.hook == hook.id).order_by(waiting.c.seq.desc())
                oldest = newest.offset(self._most).subquery()
                unsent = waiting.c.seq.in_(select(oldest)), waiting.c.sent.is_(None)
                lost = connection.execute(select(func.count()).where(*unsent)).scalar_one()
                connection.execute(delete(waiting).where(waiting.c.seq.in_(select(oldest))))
                if lost:
                    connection.execute(update(hooks).where(hooks.c.id == hook.id).values(lost=hooks.c.lost + lost))

    def _catch_up(self) -> None:
        """Note what could not be noted, in order."""
        while self._behind:
            first = self._behind[0]
            self._note(*first)
            with self._guard:
                if self._behind and self._behind[0] is first:  # it may have gone to make room
                    self._behind.popleft()

    def _fell_ill(self, error: Exception) -> None:
        """The file fails: said once, until it works again."""
        if not self._ill:
            said = str(error) if isinstance(error, Refusal) else type(error).__name__  # a driver's words hold what it was given
            log.error("events wait to be noted for webhooks: %s", said)
        self._ill = True

    def _is_well(self) -> None:
        if self._ill:
            log.info("events are noted for webhooks again")
        self._ill = False

    def start(self) -> None:
        """Send, in a thread, until `close`."""
        self._thread = threading.Thread(target=self._run, name="serval-webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(30)
        self._engine.dispose()

    def deliver(self) -> float | None:
        """Try what is due; seconds until something else is, None if nothing waits."""
        try:
            with told_plainly("webhooks"):
                self._catch_up()
                patience = self._deliver()
        except _FAULTS as error:
            self._fell_ill(error)
            return _LATER
        self._is_well()
        return patience

    def _deliver(self) -> float | None:
        now, secrets_ = self._now(), {hook.id: hook for hook in self.held()}
        heads = select(func.min(waiting.c.seq)).where(waiting.c.sent.is_(None)).group_by(waiting.c.hook)
        due_ = or_(waiting.c.due <= now, waiting.c.due > now + LONGEST)  # which nobody waits for: the clock was put back
        ready = select(waiting.c.hook).where(waiting.c.seq.in_(heads), due_)  # none overtakes another
        due = select(waiting).where(waiting.c.sent.is_(None), waiting.c.hook.in_(ready)).order_by(waiting.c.seq).limit(100)
        with self._engine.begin() as connection:
            rows = [dict(row._mapping) for row in connection.execute(due)]
        failed: set[str] = set()
        for row in rows:
            if self._closed or row["hook"] not in secrets_ or row["hook"] in failed:
                continue
            told = row["hook"], row["event"]
            sent = told in self._told or self._try(secrets_[row["hook"]], row)
            values: dict[str, Any] = {"sent": self._now(), "body": ""} if sent else {"tries": row["tries"] + 1}
            if sent:
                self._told.add(told)
            else:
                failed.add(row["hook"])
                values["due"] = self._now() + min(LONGEST, FIRST * 2.0 ** row["tries"])
            with self._engine.begin() as connection:
                connection.execute(update(waiting).where(waiting.c.seq == row["seq"]).values(**values))
            self._told.discard(told)
        with self._engine.begin() as connection:
            soonest = connection.execute(select(func.min(waiting.c.due)).where(waiting.c.seq.in_(heads))).scalar_one()
        return None if soonest is None else max(0.0, soonest - self._now())

    def _try(self, hook: Webhook, row: dict[str, Any]) -> bool:
        body, sent = row["body"].encode(), int(self._now())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Serval",
            "webhook-id": row["event"],
            "webhook-timestamp": str(sent),
            "webhook-signature": signature(hook.secret, row["event"], sent, body),
        }
        try:
            status = self._send(target(hook.url, self._allowed, **self._more), body, headers)
        except (OSError, Refusal):
            return False
        return 200 <= status < 300

    def _run(self) -> None:
        while not self._closed:
            try:
                patience = self.deliver()
            except Exception:
                log.exception("webhooks")
                patience = _LATER
            with self._changed:
                if not self._closed:
                    self._changed.wait(min(60.0, 60.0 if patience is None else max(0.05, patience)))
