"""A schema for an event's data: what is accepted, and how typed facts fill it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from serval.assistant.event import Fact, FactKind
from serval.assistant.instructions.instruction import Instruction
from serval.assistant.instructions.schema import MAX_DEPTH, NAMES, check_schema, fill_data
from serval.refusal import Refusal

FACTS = (
    Fact(kind=FactKind.TIME, time=12.5),
    Fact(kind=FactKind.CHANGE, subject="cup", action="put", place="on the table", object="dining table", count=1, score=0.8),
    Fact(kind=FactKind.COUNT, subject="person", count=2),
    Fact(kind=FactKind.COUNT, subject="cup", count=3),
    Fact(kind=FactKind.BEFORE, subject="cup", count=2),
    Fact(kind=FactKind.AFTER, subject="cup", count=3),
    Fact(kind=FactKind.TEXT, text="EXIT"),
    Fact(kind=FactKind.TOUCHING, object="cup"),
)


def instruction(**properties):
    required = properties.pop("required", [])
    more = properties.pop("more", {})
    return Instruction(id="x", text="x", schema={"type": "object", "properties": properties, "required": required, **more})


def filled(**properties):
    return fill_data(instruction(**properties), FACTS, 12.5)


def test_without_a_schema_there_is_no_data():
    assert fill_data(Instruction(id="x", text="x"), FACTS, 1.0).data == {}


def test_properties_are_filled_by_name_in_the_types_asked_for():
    text, whole, number = {"type": "string"}, {"type": "integer"}, {"type": "number"}
    found = filled(
        what=text,
        how_many=whole,
        place=text,
        text=text,
        action=text,
        time=number,
        before=whole,
        after=whole,
        on=text,
        touching=text,
    )
    assert found.why == ""
    assert found.data == {
        "what": "cup",
        "how_many": 3,
        "place": "on the table",
        "text": "EXIT",
        "action": "put",
        "time": 12.5,
        "before": 2,
        "after": 3,
        "on": "dining table",
        "touching": "cup",
    }


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"type": "integer"}, 3),
        ({"type": "number"}, 3),
        ({"type": "string"}, "3"),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "integer"}}, [3]),
        ({"type": ["null", "integer"]}, 3),
        ({}, 3),
        ({"$ref": "#/$defs/n"}, 3),
    ],
)
def test_a_count_in_any_type(wanted, value):
    found = filled(count=wanted, more={"$defs": {"n": {"type": "integer", "minimum": 0}}})
    assert found.data == {"count": value}
    assert type(found.data["count"]) is type(value)


def test_enum_default_and_const():
    found = filled(
        action={"enum": ["Put", "Taken"]},
        camera={"type": "string", "default": "front"},
        version={"const": 2},
        unknown={"type": "string"},
    )
    assert found.data == {"action": "Put", "camera": "front", "version": 2}


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"colour": {"type": "string"}, "required": ["colour"]}, "no fact says “colour”"),
        ({"count": {"type": "integer", "maximum": 2}}, "“count” would be 3, which its schema does not allow"),
        ({"what": {"type": "string", "pattern": "^dog$"}}, '“what” would be "cup", which its schema does not allow'),
        ({"what": {"type": "string"}, "more": {"minProperties": 2}}, "the data breaks the schema's “minProperties”"),
    ],
)
def test_what_cannot_be_filled_is_left_empty_with_a_reason(properties, why):
    found = filled(**properties)
    assert (found.data, found.why) == ({}, why)


TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
PROPERTY = st.one_of(
    st.just({}),
    st.builds(lambda kind: {"type": kind}, TYPES),
    st.builds(lambda kinds: {"type": kinds}, st.lists(TYPES, min_size=1, unique=True)),
)
NAME = st.one_of(st.sampled_from(sorted(NAMES)), st.text(max_size=5))
FACT = st.builds(
    Fact,
    kind=st.sampled_from(FactKind),
    subject=st.sampled_from(["", "cup", "person"]),
    count=st.none() | st.integers(0, 9),
    action=st.sampled_from(["", "put"]),
    text=st.text(max_size=4),
)


@given(st.dictionaries(NAME, PROPERTY, max_size=6), st.lists(NAME, max_size=2, unique=True), st.lists(FACT, max_size=5))
def test_data_satisfies_its_schema_or_is_empty_with_a_reason(properties, required, facts):
    schema = {"type": "object", "properties": properties, "required": required}
    check_schema(schema)
    found = fill_data(Instruction(id="x", text="x", schema=schema), tuple(facts), 3.0)
    if found.why:
        assert found.data == {}
    else:
        assert Draft202012Validator(schema).is_valid(found.data)


def deep(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


REFUSED = {
    "of no object": {"type": "string"},
    "too deep": deep(MAX_DEPTH + 2),
    "too big": {"type": "object", "description": "x" * 20000},
    "too many": {"type": "object", "properties": {f"p{i}": {} for i in range(60)}},
    "remote": {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}},
    "file": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "address": {"type": "object", "$id": "https://example.com/", "properties": {}},
    "itself": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a"}},
        "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}},
    },
    "whole": {"type": "object", "properties": {"a": {"$ref": "#"}}},
    "nowhere": {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}},
    "laughs": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/a0"}},
        "$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 10} for i in range(3)} | {"a3": {}},
    },
    "no schema": {"type": "object", "properties": {"a": {"type": "colour"}}},
    "no list": {"type": "object", "required": "a"},
    "no json": {"type": "object", "default": {1, 2}},
    "evil pattern": {"type": "object", "properties": {"text": {"pattern": "^(a+)+$"}}},
    "slow pattern": {"type": "object", "properties": {"text": {"pattern": "a*a*a*a*b"}}},
    "back reference": {"type": "object", "properties": {"text": {"pattern": r"(a)\1"}}},
    "broken pattern": {"type": "object", "properties": {"text": {"pattern": "["}}},
    "long pattern": {"type": "object", "properties": {"text": {"pattern": "a" * 300}}},
    "evil name": {"type": "object", "patternProperties": {"^(a+)+$": {}}},
}


@pytest.mark.parametrize("schema", REFUSED.values(), ids=REFUSED)
def test_refused(schema):
    with pytest.raises(Refusal, match=r"^schema: "):
        check_schema(schema)


def test_accepted():
    check_schema(
        {
            "type": "object",
            "properties": {
                "plate": {"type": "string", "pattern": r"^[A-Z]{2}\d{2} ?[A-Z]{3}$"},
                "count": {"$ref": "#/$defs/count"},
            },
            "$defs": {"count": {"type": "integer", "minimum": 0}},
            "additionalProperties": False,
        }
    )
    check_schema(deep(MAX_DEPTH - 1))
