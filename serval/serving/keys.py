"""Who may use the service: keys with scopes, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from serval.assistant.instructions.shared_file import locked, replace_text
from serval.refusal import Refusal

_MOST = 1000  # keys of a file
_PREFIX = "serval"


class Scope(StrEnum):
    WATCH = "watch"  # see streams, timelines and pictures
    ASK = "ask"  # put questions, and use the models
    INSTRUCT = "instruct"  # start and stop streams, change what is watched for
    ADMIN = "admin"  # see and do everything, whoever it belongs to


def scopes(names: Sequence[str]) -> tuple[Scope, ...]:
    """By their names. Raises `Refusal` for an unknown one."""
    for name in names:
        if name not in list(Scope):
            raise Refusal(f"scope {name[:30]}", "there is none of this name", f"known are {', '.join(Scope)}")
    return tuple(Scope(each) for each in names)


@dataclass(frozen=True)
class Person:
    """Who is at the other end. What somebody makes belongs to their ``id``; an admin sees what belongs to others."""

    id: str
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


NEIGHBOUR = Person("local", "this machine", frozenset(Scope))
"""Whoever reaches a service that has no keys and that only this machine can reach."""


class Key(BaseModel):
    """A key as it is kept: the secret itself was shown once, when it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    created: datetime


_KEYS = TypeAdapter(list[Key])


class Keys:
    """A file of keys, readable by its owner alone. Read again when it changes, so a key that is removed is out at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int] | None, dict[str, Key]] = (None, {})

    @property
    def any(self) -> bool:
        """Whether there are keys at all."""
        return bool(self._held())

    def held(self) -> list[Key]:
        return list(self._held().values())

    def add(self, name: str, scopes: tuple[Scope, ...]) -> str:
        """A new key; its text is nowhere kept. Raises `Refusal` for a name that is taken or none, no scope, or a full file."""
        if not 1 <= len(name) <= 60 or not name.isprintable():
            raise Refusal("the key's name", "it has 1 to 60 printable characters", "give another one")
        if not scopes:
            raise Refusal(name, "a key that may do nothing is of no use", f"give scopes: {', '.join(Scope)}")
        number, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        with locked(self._path):
            held = self._load()
            if any(each.name == name for each in held.values()):
                raise Refusal(f"key “{name}”", "there is one already", "choose another name, or remove it first")
            if len(held) >= _MOST:
                raise Refusal(self._path.name, f"it holds {_MOST} keys, which is the most", "remove some")
            new = Key(id=number, name=name, scopes=scopes, sha256=_hash(secret), created=datetime.now().astimezone())
            self._write([*held.values(), new])
        return f"{_PREFIX}-{number}-{secret}"

    def remove(self, name: str) -> None:
        """Raises `Refusal` where there is none of that name."""
        with locked(self._path):
            held = self._load()
            left = [each for each in held.values() if each.name != name]
            if len(left) == len(held):
                raise Refusal(f"key “{name[:60]}”", "there is none", "see `serval keys list`")
            self._write(left)

    def person(self, text: str) -> Person | None:
        """Who a key belongs to; compared in constant time, known id or not."""
        _, _, rest = text.partition("-")
        number, _, secret = rest.partition("-")
        key = self._held().get(number)
        same = hmac.compare_digest(_hash(secret), key.sha256 if key else _hash("nobody"))
        return Person(key.id, key.name, frozenset(key.scopes)) if key and same else None

    def _held(self) -> dict[str, Key]:
        try:
            found = self._path.stat()
            sign = (found.st_mtime_ns, found.st_size)
        except OSError:
            return {}
        if self._read[0] != sign:
            self._read = (sign, self._load())
        return self._read[1]

    def _load(self) -> dict[str, Key]:
        try:
            keys = _KEYS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Refusal(str(self._path), f"it cannot be read ({error.strerror})", "see who owns it") from None
        except ValidationError:
            raise Refusal(str(self._path), "it is no file of keys", "move it away and make keys anew") from None
        return {each.id: each for each in keys}

    def _write(self, keys: list[Key]) -> None:
        replace_text(self._path, _KEYS.dump_json(keys, indent=1).decode() + "\n")
        self._path.chmod(0o600)


def _hash(secret: str) -> str:
    """Secrets are 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()
