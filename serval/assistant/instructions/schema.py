"""An instruction's JSON Schema for its events' data: checked when it is given, filled from typed facts when it speaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from serval.assistant.event import Fact, FactKind
from serval.assistant.instructions.instruction import Instruction
from serval.refusal import Refusal

MAX_BYTES = 16 << 10
MAX_DEPTH = 8
MAX_PROPERTIES = 50
MAX_PATTERN = 200
MAX_PARTS = 500  # every reference followed
_WHOLE = {"$schema", "title", "description", "$id", "$comment", "default", "examples", "const", "enum", "required"}
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


@dataclass(frozen=True)
class Filled:
    """Data for an event. When it could not be made to satisfy the schema, ``data`` is empty and ``why`` says what was wrong."""

    data: dict[str, Any] = field(default_factory=dict)
    why: str = ""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Accept a JSON Schema (draft 2020-12) of an object, small and closed enough to be used on every event.

    Raises:
        Refusal: no schema, too big or deep, not of an object, a reference out of itself, or a pattern that could run for ever.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError, RecursionError):
        raise Refusal("schema", "it is not JSON", "write it as JSON") from None
    if size > MAX_BYTES:
        raise Refusal("schema", f"it is {size} bytes, and {MAX_BYTES} is the most", "make it smaller")
    if schema.get("type") != "object":
        raise Refusal("schema", "it must be of an object", 'begin with "type": "object" and "properties"')
    count = 0
    for number, part in enumerate(_parts(schema, schema, 0)):
        if number > MAX_PARTS:
            raise Refusal("schema", f"it comes to more than {MAX_PARTS} parts", "make it smaller")
        properties = part.get("properties")
        count += len(properties) if isinstance(properties, Mapping) else 0
        if count > MAX_PROPERTIES:
            raise Refusal("schema", f"it has more than {MAX_PROPERTIES} properties", "ask for fewer")
        patterns = [part["pattern"]] if "pattern" in part else []
        patterns += list(part["patternProperties"]) if isinstance(part.get("patternProperties"), Mapping) else []
        for pattern in patterns:
            _check_pattern(pattern)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(step) for step in error.absolute_path)[:80] or "its top"
        raise Refusal("schema", f"it is no JSON Schema at {where}", "see json-schema.org for how to write one") from None


def fill_data(instruction: Instruction, facts: tuple[Fact, ...], time: float) -> Filled:
    """Properties of the instruction's schema, filled by their names from the facts and validated.

    Known names are those of `NAMES`; a property with a ``default`` or ``const`` has that when no fact fills it, and an
    optional one that nothing fills is left out. Without a schema the data is empty.

    Args:
        time: seconds on the run's clock at which it happened.
    """
    if instruction.schema_ is None:
        return Filled()
    from jsonschema import Draft202012Validator

    schema = instruction.schema_
    data: dict[str, Any] = {}
    for name, wanted in (schema.get("properties") or {}).items():
        wanted = _resolved(wanted, schema)
        value = _value(name, wanted, facts, time)
        if value is not None:
            data[name] = value
    error = next(iter(sorted(Draft202012Validator(schema).iter_errors(data), key=lambda each: list(map(str, each.path)))), None)
    if error is None:
        return Filled(data)
    where = str(error.absolute_path[0]) if error.absolute_path else ""
    missing = [name for name in schema.get("required", []) if name not in data]
    if where:
        return Filled(why=f"“{where}” would be {json.dumps(data.get(where))[:60]}, which its schema does not allow")
    if missing:
        return Filled(why=f"no fact says {', '.join(f'“{name}”' for name in missing[:5])}")
    return Filled(why=f"the data breaks the schema's “{error.validator}”")


def _actions(facts: tuple[Fact, ...]) -> list[Fact]:
    return [fact for fact in facts if fact.action] or [fact for fact in facts if fact.kind is FactKind.CHANGE]


def _subject(facts: tuple[Fact, ...], time: float) -> str | None:
    whos = _actions(facts) or [fact for fact in facts if fact.kind in (FactKind.WHO, FactKind.COUNT)]
    return next((fact.subject for fact in whos if fact.subject), None)


def _count(facts: tuple[Fact, ...], time: float) -> int | None:
    subject = _subject(facts, time)
    for kinds in ((FactKind.COUNT,), (FactKind.AFTER,), (FactKind.CHANGE, FactKind.WHO)):
        for fact in facts:
            if fact.kind in kinds and fact.count is not None and (not subject or not fact.subject or fact.subject == subject):
                return fact.count
    return None


def _of(kind: FactKind) -> Callable[[tuple[Fact, ...], float], Any]:
    """What a before or after fact says: its count, else its words."""

    def get(facts: tuple[Fact, ...], time: float) -> Any:
        return next((_said(fact) for fact in facts if fact.kind is kind), None)

    return get


def _said(fact: Fact) -> Any:
    return fact.count if fact.count is not None else fact.text or fact.subject or None


def _first(slot: str) -> Callable[[tuple[Fact, ...], float], Any]:
    def get(facts: tuple[Fact, ...], time: float) -> Any:
        ordered = [*_actions(facts), *facts]
        return next((getattr(fact, slot) for fact in ordered if getattr(fact, slot)), None)

    return get


def _all_subjects(facts: tuple[Fact, ...], time: float) -> list[str] | None:
    return list(dict.fromkeys(fact.subject for fact in facts if fact.subject)) or None


def _touching(facts: tuple[Fact, ...], time: float) -> str | None:
    return next((fact.object or fact.subject for fact in facts if fact.kind is FactKind.TOUCHING), None)


_GETTERS: dict[str, tuple[Callable[[tuple[Fact, ...], float], Any], str]] = {
    "subject": (_subject, "what label object who class noun name thing item kind type subject"),
    "count": (_count, "count number how_many quantity amount total"),
    "place": (_first("place"), "place where position location side"),
    "text": (_first("text"), "text words sign reads read"),
    "action": (_first("action"), "action change happened event verb"),
    "time": (lambda facts, time: time, "time at when seconds t"),
    "before": (_of(FactKind.BEFORE), "before was previous"),
    "after": (_of(FactKind.AFTER), "after now current"),
    "other": (_first("object"), "on other second target"),
    "touching": (_touching, "touching touched hand"),
    "objects": (_all_subjects, "objects labels things classes items subjects"),
    "score": (lambda facts, time: max((fact.score for fact in facts), default=None), "score confidence certainty"),
    "texts": (lambda facts, time: [fact.text for fact in facts if fact.text] or None, "texts lines"),
}
NAMES: dict[str, str] = {name: slot for slot, (_, names) in _GETTERS.items() for name in names.split()}


def _value(name: str, wanted: Any, facts: tuple[Fact, ...], time: float) -> Any:
    """A property's value in a type that its schema allows; None when nothing fills it."""
    wanted = wanted if isinstance(wanted, Mapping) else {}
    slot = NAMES.get(name.lower().replace("-", "_"))
    value = _GETTERS[slot][0](facts, time) if slot else None
    types = wanted.get("type")
    allowed = [types] if isinstance(types, str) else list(types) if isinstance(types, list) else []
    typed = _typed(value, allowed, facts, time) if value is not None else None
    if isinstance(typed, str) and isinstance(wanted.get("enum"), list) and typed not in wanted["enum"]:
        typed = next((each for each in wanted["enum"] if isinstance(each, str) and each.casefold() == typed.casefold()), typed)
    if typed is not None:
        return typed
    if "const" in wanted:
        return wanted["const"]
    if "default" in wanted:
        return wanted["default"]
    return None


def _typed(value: Any, allowed: list[str], facts: tuple[Fact, ...], time: float) -> Any:
    """The value as one of the JSON types; None when it cannot be one of them."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    for kind in allowed or ["any"]:
        if kind == "any" or (kind == "string" and isinstance(value, str)) or (kind == "array" and isinstance(value, list)):
            return value
        if kind == "integer" and is_number and float(value).is_integer():
            return int(value)
        if kind == "number" and is_number:
            return value
        if kind == "boolean" and isinstance(value, str | int):
            return bool(value)
        if kind == "array":
            return [value]
        if kind == "string" and is_number:
            return f"{value:g}"
        if kind == "string" and isinstance(value, list):
            return ", ".join(map(str, value))
        if kind == "integer" and is_number:
            return round(value)
    return None


def _resolved(wanted: Any, root: Mapping[str, Any]) -> Any:
    """Follow local references, a few steps at most."""
    for _ in range(MAX_DEPTH):
        if not isinstance(wanted, Mapping) or "$ref" not in wanted:
            return wanted
        wanted = _target(wanted["$ref"], root)
    return {}


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _parts(schema: Any, root: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """Every subschema, references followed. A schema that refers to itself is nested without end, and so is refused."""
    if isinstance(schema, Mapping):
        if depth > MAX_DEPTH:
            raise Refusal("schema", f"it is nested more than {MAX_DEPTH} deep", "make it flatter")
        yield schema
        for key in ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"):
            if key in schema and not isinstance(schema[key], Mapping):
                raise Refusal("schema", f"it has {key}, an address", 'use only references such as "#/$defs/name"')
        if "$ref" in schema:
            yield from _parts(_referred(schema["$ref"], root), root, depth + 1)
        for key, value in schema.items():
            if key in _MAPS and isinstance(value, Mapping):
                for each in value.values():
                    yield from _parts(each, root, depth + 1)
            elif key not in _WHOLE:
                yield from _parts(value, root, depth + 1)
    elif isinstance(schema, list):
        for each in schema:
            yield from _parts(each, root, depth)


def _referred(reference: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise Refusal("schema", "it points outside of itself", 'use only references such as "#/$defs/name"')
    found = _target(reference, root)
    if not isinstance(found, Mapping):
        raise Refusal("schema", f"it has nothing at {reference[:80]}", "correct the reference")
    return found


def _check_pattern(pattern: Any) -> None:
    """Patterns with few repetitions, and none of a group, take time that any text of a picture can afford."""
    import re

    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise Refusal("schema", f"a pattern is longer than {MAX_PATTERN} characters", "make it shorter")
    bare = re.sub(r"\\.", "_", pattern)  # escaped characters repeat nothing
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        raise Refusal("schema", "a pattern is no regular expression", "correct it, or leave it out") from None
    if re.search(r"\)\s*(?:[*+]|\{)", bare) or re.search(r"\\[1-9]|\(\?[=!<P(]", pattern):
        raise Refusal(
            "schema", "a pattern repeats a group, or looks around or back, and could run for ever", "write it without"
        )
    if len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > 2 or bare.count("?") > 10:
        raise Refusal("schema", "a pattern has more than two repetitions of no fixed number", "write it with fewer")
    if any(int(number) > 1000 for number in re.findall(r"\{(\d+)", bare)):
        raise Refusal("schema", "a pattern repeats something more than a thousand times", "write a smaller number")
