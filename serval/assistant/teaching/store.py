"""The folder in which lessons are kept: one JSON file that says what there is, and a safetensors file for each lesson.

A lesson's file is named by the hash of its content and written first; the JSON file then replaces the old one in a single step.
So whatever ends the program, the folder holds all that was taught before or all that was taught after. A lesson taken back
leaves the very bytes that were there before it, which is why nothing in the JSON file is a date or a counter.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from serval.assistant.instructions.shared_file import locked, replace_text
from serval.assistant.teaching.lesson import FEATURE, OTHERS, Lesson
from serval.assistant.teaching.names import checked, key
from serval.assistant.teaching.person import TAUGHT
from serval.refusal import Refusal

VERSION = 1
_JSON_BYTES = 4 << 20


@dataclass(frozen=True)
class Caps:
    """How much may be taught."""

    objects: int = 100
    pictures: int = 50  # of one object

    def __post_init__(self) -> None:
        for name, value, most in (("objects", self.objects, 1000), ("pictures", self.pictures, 1000)):
            if not 1 <= value <= most:
                raise Refusal(f"at most {value} {name}", f"it must be 1 to {most}", "leave it out")


DEFAULT = Caps()


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    pictures: int = Field(ge=1, le=1000)
    shown: tuple[str, ...] = Field(max_length=1000)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def file(self) -> str:
        return f"lesson-{self.sha256[:16]}.safetensors"


class _Contents(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=VERSION, ge=VERSION, le=VERSION)
    lessons: tuple[_Entry, ...] = Field(default=(), max_length=100_000)


def load(folder: Path) -> tuple[Lesson, ...]:
    """All lessons, in the order in which they were given; none where nothing was taught yet.

    Raises:
        Refusal: something in the folder is damaged, or no file of ours.
    """
    for attempt in range(3):  # a lesson may be forgotten between the two reads
        try:
            return tuple(_lesson(folder, entry) for entry in _contents(folder).lessons)
        except FileNotFoundError:
            if attempt == 2:
                raise _damaged(folder, "a lesson's file is missing") from None
    raise AssertionError


def teach(folder: Path, lesson: Lesson, caps: Caps = DEFAULT) -> None:
    """Add a lesson, or more pictures of a thing that is known already.

    Raises:
        Refusal: it would be more than ``caps`` allow, or the folder cannot be written.
    """
    data = _packed(lesson)
    entry = _Entry(name=lesson.name, pictures=len(lesson.regions), shown=lesson.shown, sha256=hashlib.sha256(data).hexdigest())

    def add(contents: _Contents) -> Iterable[_Entry]:
        names = {key(each.name) for each in contents.lessons}
        shown = sum(each.pictures for each in contents.lessons if key(each.name) == key(lesson.name)) + entry.pictures
        if key(lesson.name) not in names and len(names) >= caps.objects:
            raise Refusal(f"“{lesson.name}”", f"{caps.objects} things are the limit", "forget one: serval teach --forget NAME")
        if shown > caps.pictures:
            raise Refusal(
                f"“{lesson.name}”", f"it would have {shown} pictures, and {caps.pictures} are the limit", "give fewer"
            )
        if any(each.sha256 == entry.sha256 for each in contents.lessons):
            raise Refusal(f"“{lesson.name}”", "these very pictures were shown already", "show others")
        _write(folder / entry.file, data)
        return [*contents.lessons, entry]

    _change(folder, add)


def forget(folder: Path, name: str) -> int:
    """Take away all that was taught of a thing, from the disk too. Returns how many pictures that were.

    Raises:
        Refusal: nothing of that name was taught.
    """
    gone = 0

    def drop(contents: _Contents) -> Iterable[_Entry]:
        nonlocal gone
        gone = sum(each.pictures for each in contents.lessons if key(each.name) == key(name))
        if not gone:
            raise Refusal(f"“{checked(name)}”", "nothing of that name was taught", "see: serval teach --list")
        return [each for each in contents.lessons if key(each.name) != key(name)]

    _change(folder, drop)
    return gone


def undo(folder: Path) -> tuple[str, int]:
    """Take back the last lesson; returns its name and how many pictures it had.

    Raises:
        Refusal: there is none.
    """
    last: list[_Entry] = []

    def drop(contents: _Contents) -> Iterable[_Entry]:
        if not contents.lessons:
            raise Refusal(str(folder), "nothing was taught yet", 'teach something: serval teach "my mug" photo.jpg')
        last.append(contents.lessons[-1])
        return contents.lessons[:-1]

    _change(folder, drop)
    return last[0].name, last[0].pictures


def _change(folder: Path, edit: Callable[[_Contents], Iterable[_Entry]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what somebody owns is nobody else's business
    except OSError as error:
        raise Refusal(str(folder), f"the folder cannot be made ({error.strerror})", "name another with --memory") from None
    with locked(folder / TAUGHT):
        kept = _Contents(lessons=tuple(edit(_contents(folder))))
        replace_text(folder / TAUGHT, kept.model_dump_json(indent=1) + "\n")
        files = {each.file for each in kept.lessons}
        for old in folder.glob("lesson-*.safetensors"):
            if old.name not in files:
                old.unlink(missing_ok=True)


def _contents(folder: Path) -> _Contents:
    path = folder / TAUGHT
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise _damaged(folder, "it is too large")
        return _Contents.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _Contents()
    except ValidationError:
        raise _damaged(folder, "it is no list of lessons that this Serval wrote") from None
    except OSError as error:
        raise Refusal(str(path), f"it cannot be read ({error.strerror})", "name another folder") from None


def _packed(lesson: Lesson) -> bytes:
    return save_tensors({"regions": lesson.regions, "others": lesson.others})


def _lesson(folder: Path, entry: _Entry) -> Lesson:
    path = folder / entry.file
    if path.stat().st_size > (entry.pictures * (1 + OTHERS) * FEATURE * 4) + 4096:
        raise _damaged(folder, f"{entry.file} is too large")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refusal(str(path), f"it cannot be read ({error.strerror})", "name another folder") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise _damaged(folder, f"{entry.file} is not what was written")
    try:
        tensors = load_tensors(data)
        lesson = Lesson(entry.name, _rows(tensors["regions"]), _rows(tensors["others"]), entry.shown)
    except (SafetensorError, KeyError, ValueError):
        raise _damaged(folder, f"{entry.file} holds no lesson") from None
    if len(lesson.regions) != entry.pictures:
        raise _damaged(folder, f"{entry.file} has not as many pictures as were shown")
    return lesson


def _rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != FEATURE or not np.isfinite(values).all():
        raise ValueError(f"expected finite float32 rows of {FEATURE}, got {values.dtype} {values.shape}")
    return values


def _damaged(folder: Path, why: str) -> Refusal:
    return Refusal(str(folder / TAUGHT), f"what was taught there is damaged: {why}", "delete the folder and teach anew")


def _write(path: Path, data: bytes) -> None:
    """Durable before anything names it."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise Refusal(str(path.parent), f"it cannot be written ({error.strerror})", "name another with --memory") from None
