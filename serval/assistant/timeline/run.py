"""What a run was made of: its sources, parts and arguments, so that it can be named, checked and repeated."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

import serval
from serval.refusal import Refusal

_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s]*@", re.IGNORECASE)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read a megabyte at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_passwords(value: Any) -> Any:
    """The same value with user and password taken out of every address in it, however deep."""
    if isinstance(value, str):
        return _PASSWORD.sub(r"\1***@", value)
    if isinstance(value, dict):
        return {key: without_passwords(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_passwords(each) for each in value]
    return value


class SourceInfo(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str  # path or address as given, without its password
    sha256: str = ""  # of the file; empty for a live source
    live: bool = False

    @field_validator("address")
    @classmethod
    def _hide(cls, address: str) -> str:
        return str(without_passwords(address))

    @classmethod
    def of_file(cls, name: str, path: Path) -> SourceInfo:
        """A file source with the hash of its bytes."""
        return cls(name=name, address=str(path), sha256=hash_file(path))

    def check(self, path: Path) -> None:
        """Raises `Refusal` when ``path`` is not the very file that was watched."""
        if not path.is_file():
            raise Refusal(str(path), "there is no such file", f"name the file that {self.name} was watched from")
        if self.sha256 and hash_file(path) != self.sha256:
            raise Refusal(str(path), f"this is not the file that {self.name} was watched from", "its SHA-256 differs")


class RunInfo(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceInfo, ...] = ()
    parts: dict[str, str] = {}  # role -> part id with its hash
    arguments: dict[str, Any] = {}  # of the command that started it
    started: datetime
    serval: str = serval.__version__

    @field_validator("arguments")
    @classmethod
    def _hide(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return {key: without_passwords(value) for key, value in arguments.items()}
