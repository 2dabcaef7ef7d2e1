"""Instructions in a YAML file that a person may edit: checked when read, written whole or not at all, by one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.shared_file import locked, replace_text
from serval.assistant.timeline.plain import one_line
from serval.refusal import Refusal

MAX_INSTRUCTIONS = 200
MAX_BYTES = 1 << 20
_MAX_NESTING = 40  # of the file as a whole; a schema's own limit is smaller
_SKIPPED = set(
    "tell me us when whenever if let know say please a an the is are there that to of and you see alert notify warn".split()
)


def load(path: Path) -> list[Instruction]:
    """The instructions of a file, in its order; a file that is not there holds none.

    Raises:
        Refusal: the file is too big, no YAML, or an entry is not an instruction; it names the line.
    """
    path = Path(path)
    try:
        if path.is_dir() or path.stat().st_size > MAX_BYTES:
            raise Refusal(str(path), f"not a file of at most {MAX_BYTES >> 20} MB", "name a file of instructions")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise Refusal(str(path), "not UTF-8 text", "name a YAML file of instructions") from None
    except OSError as error:
        raise Refusal(str(path), f"cannot be read ({error.strerror})") from None
    return _parse(text, str(path))


def save(path: Path, instructions: Sequence[Instruction]) -> None:
    """Write the whole file: to a new one beside it, made durable, then put in its place.

    Raises:
        Refusal: too many instructions, two with one id, or the folder cannot be written.
    """
    path = Path(path)
    with locked(path):
        _write(path, instructions)


def add(path: Path, text: str, **fields: Any) -> Instruction:
    """Append an instruction with an id made from its text, and return it.

    Args:
        fields: further fields of `Instruction`; ``id`` to choose it, ``schema`` is checked by `schema.check_schema`.

    Raises:
        Refusal: the file or a field is wrong, or the file is full.
    """

    text = one_line(text)

    def change(held: list[Instruction]) -> Instruction:
        names = {each.id for each in held}
        chosen = fields.pop("id", None) or make_id(text, names)
        if chosen in names:
            raise Refusal(f"instruction “{chosen}”", "there is one already", "choose another id")
        new = _instruction(
            {"id": chosen, "text": text, "created": datetime.now().astimezone(), **fields}, "the new instruction"
        )
        held.append(new)
        return new

    return _change(path, change, lambda text, new: f"{text.rstrip()}\n{_dump([new])}".lstrip())


def remove(path: Path, name: str) -> Instruction:
    """Take an instruction out of the file and return it.

    Raises:
        Refusal: there is none of that id.
    """

    def change(held: list[Instruction]) -> Instruction:
        found = _find(held, name, path)
        held.remove(found)
        return found

    return _change(path, change, _without)


def switch(path: Path, name: str, enabled: bool) -> Instruction:
    """Switch an instruction on or off and return it; the file is written anew.

    Raises:
        Refusal: there is none of that id.
    """

    def change(held: list[Instruction]) -> Instruction:
        found = _find(held, name, path)
        held[held.index(found)] = new = found.model_copy(update={"enabled": enabled})
        return new

    return _change(path, change, lambda text, new: text)


def acknowledge(path: Path, name: str, now: datetime | None = None) -> Instruction:
    """Note that a person has seen what an instruction said; a watch on this file then lets it speak again.

    The time is kept beside the file (``instructions.yaml.acknowledged``), so that the file itself stays the person's own.

    Raises:
        Refusal: there is none of that id.
    """
    path = Path(path)
    with locked(path):
        held = load(path)
        found = _find(held, name, path)
        times = _acknowledged(path)
        times = {each.id: times[each.id] for each in held if each.id in times}
        times[name] = now or datetime.now().astimezone()
        replace_text(beside(path), yaml.safe_dump({key: value.isoformat() for key, value in times.items()}))
    return found


def acknowledged(path: Path) -> dict[str, datetime]:
    """Instruction id -> when it was last acknowledged. What cannot be read counts as never."""
    return _acknowledged(Path(path))


def make_id(text: str, taken: set[str] | frozenset[str] = frozenset()) -> str:
    """A short name from the words of an instruction: "tell me when a person comes in" -> "person-comes-in"."""
    words = re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
    told = [word for word in words if word not in _SKIPPED] or words or ["instruction"]
    stem = "-".join(told[:5])[:48].strip("-")
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _change(
    path: Path, change: Callable[[list[Instruction]], Instruction], edit: Callable[[str, Instruction], str]
) -> Instruction:
    """Read, change and write while no other process can.

    ``edit`` makes the new text out of the old and keeps a person's comments; where it does not come to the same instructions
    (a list in brackets, say) the file is written anew.
    """
    path = Path(path)
    with locked(path):
        held = load(path)
        old = path.read_text("utf-8") if path.exists() else ""
        result = change(held)
        new = edit(old, result)
        try:
            same = _parse(new, str(path)) == held
        except Refusal:
            same = False
        _write(path, held, new if same else None)
    return result


def _without(text: str, gone: Instruction) -> str:
    """The text of a block list without one entry and without the comments inside it."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.SequenceNode):
        return text
    starts = [_line(node) - 1 for node in root.value]
    place = next(i for i, entry in enumerate(yaml.safe_load(text)) if entry.get("id") == gone.id)
    lines = text.splitlines(keepends=True)
    end = starts[place + 1] if place + 1 < len(starts) else len(lines)
    while end > starts[place] + 1 and lines[end - 1].strip()[:1] in ("", "#"):
        end -= 1  # what stands above the next entry belongs to that
    return "".join(lines[: starts[place]] + lines[end:])


def _find(held: list[Instruction], name: str, path: Path) -> Instruction:
    found = next((each for each in held if each.id == name), None)
    if found is None:
        raise Refusal(f"instruction “{name[:80]}”", f"there is none in {path}", "see `serval instructions list`")
    return found


def _parse(text: str, name: str) -> list[Instruction]:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise Refusal(f"{name}, line {_line(event)}", "aliases are not allowed", "write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_NESTING:
                raise Refusal(f"{name}, line {_line(event)}", "nested too deeply")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if isinstance(mark, yaml.Mark) else ""
        raise Refusal(f"{name}{where}", "not YAML", "see `serval instructions add --help` for an example") from None
    except (ValueError, RecursionError):  # a date such as 2026-99-99
        raise Refusal(name, "holds a value that is none", "check dates and numbers") from None
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise Refusal(name, "must be a list of instructions", "begin each with “- id:”")
    if len(entries) > MAX_INSTRUCTIONS:
        raise Refusal(name, f"holds {len(entries)} instructions, more than {MAX_INSTRUCTIONS}", "remove some")
    lines = [_line(node) for node in root.value] if isinstance(root, yaml.SequenceNode) else []
    out: list[Instruction] = []
    for entry, line in zip(entries, lines, strict=True):
        new = _instruction(entry, f"{name}, line {line}")
        if any(each.id == new.id for each in out):
            raise Refusal(f"{name}, line {line}", f"a second instruction “{new.id}”", "give it an id of its own")
        out.append(new)
    return out


def _line(part: yaml.Event | yaml.Node) -> int:
    return part.start_mark.line + 1 if part.start_mark else 1


def _instruction(entry: object, where: str) -> Instruction:
    from serval.assistant.instructions.schema import check_schema

    if not isinstance(entry, dict):
        raise Refusal(where, "an instruction has an id and a text", "write “- id: …” and below it “text: …”")
    try:
        new = Instruction.model_validate(entry)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        field = ".".join(str(part) for part in first["loc"])[:80]
        if first["type"] == "extra_forbidden":
            raise Refusal(where, f"there is no field “{field}”", f"fields are {', '.join(_fields())}") from None
        raise Refusal(where, f"“{field}” {_plain(first['msg'])}") from None
    if new.schema_ is not None:
        try:
            check_schema(new.schema_)
        except Refusal as refusal:
            raise Refusal(f"{where}, schema", refusal.why, refusal.remedy) from None
    return new


def _plain(message: str) -> str:
    return {"Field required": "is missing"}.get(message, message[0].lower() + message[1:160])


def _fields() -> list[str]:
    return [field.alias or name for name, field in Instruction.model_fields.items()]


def _write(path: Path, instructions: Sequence[Instruction], text: str | None = None) -> None:
    if len(instructions) > MAX_INSTRUCTIONS:
        raise Refusal(str(path), f"{len(instructions)} instructions, and {MAX_INSTRUCTIONS} is the most", "remove some")
    if len({each.id for each in instructions}) < len(instructions):
        raise Refusal(str(path), "two instructions with one id", "give each an id of its own")
    text = _dump(instructions) if text is None else text
    if len(text.encode()) > MAX_BYTES:
        raise Refusal(str(path), f"would be more than {MAX_BYTES >> 20} MB", "remove some, or make a schema smaller")
    replace_text(path, text)


def _dump(instructions: Sequence[Instruction]) -> str:
    entries = [each.model_dump(mode="json", by_alias=True, exclude_defaults=True) for each in instructions]
    return yaml.dump(entries, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) if entries else ""


class _Dumper(yaml.SafeDumper):
    """Writes equal values out instead of pointing from one to the other, and every character so that it is read again."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        unusual = any(character in "\x85\u2028\u2029\ufeff" for character in data)  # line breaks to YAML, folded away otherwise
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if unusual else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def beside(path: Path) -> Path:
    """Where the times of acknowledgements are kept."""
    return path.with_name(f"{path.name}.acknowledged")


def _acknowledged(path: Path) -> dict[str, datetime]:
    file = beside(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            return {}
        held = yaml.safe_load(file.read_text("utf-8"))
        return {str(key): datetime.fromisoformat(value) for key, value in held.items()} if isinstance(held, dict) else {}
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return {}
