"""Whatever a model would like to say, the text is what it has to be."""

import json
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from serval.language.generation.constraint import Constraint, ConstraintVocabulary
from serval.language.generation.generate import stream
from serval.language.generation.request import End, Request
from serval.language.generation.sampling import Sampling
from serval.refusal import Refusal

from .conftest import Scripted

SCHEMAS = {
    "object": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "count": {"type": "integer", "minimum": -3, "maximum": 1200},
            "seen": {"type": "boolean"},
        },
        "required": ["name", "count"],
        "additionalProperties": False,
    },
    "enum": {"enum": ["person", "dog", 7, None, "<|end|>", 'é"\\\n', ["a", {"b": 1}], 0.5]},
    "array": {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 2, "maxItems": 5},
    "nested": {
        "type": "object",
        "properties": {
            "boxes": {
                "type": "array",
                "maxItems": 3,
                "items": {
                    "type": "object",
                    "properties": {
                        "label": {"enum": ["cat", "cart"]},
                        "box": {
                            "type": "array",
                            "prefixItems": [{"type": "integer", "minimum": 0, "maximum": 99}] * 2,
                            "items": False,
                        },
                    },
                    "required": ["label"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["boxes"],
        "additionalProperties": False,
    },
    "union": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-z]{2,5}$"}, {"type": "integer", "multipleOf": 4}]},
    "numbers": {"type": "array", "items": {"type": ["number", "boolean"]}, "maxItems": 4},
    "open object": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "maxProperties": 3},
    "patterns": {"type": "object", "patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": {"type": "null"}},
    "recursive": {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"leaf": {"type": "boolean"}, "child": {"$ref": "#/$defs/tree"}},
                "required": ["leaf"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    "date": {"type": "string", "format": "date"},
}


@pytest.fixture(scope="module")
def vocabulary(words) -> ConstraintVocabulary:
    return ConstraintVocabulary(words)


@pytest.fixture(scope="module")
def smollm2_vocabulary(smollm2_words) -> ConstraintVocabulary:
    return ConstraintVocabulary(smollm2_words)


class Babbling:
    """A model that would say anything."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._vocabulary = vocabulary

    def read(self, ids):
        return 3 * torch.randn(self._vocabulary, generator=self._random)


def babbled(constraint, words, seed, extra=0):
    """The text and why it ended, of a model that has ``extra`` more logits than the tokenizer has tokens."""
    special = words.special_tokens
    sampling = Sampling(temperature=1.0, seed=seed)
    request = Request([0], 200, stops={min(special.values())}, sampling=sampling, constraint=constraint)
    *steps, end = stream(Babbling(words.vocabulary_size + extra, seed), request, tokenizer=words)
    assert all(step.token not in special.values() and step.token < words.vocabulary_size for step in steps)
    return "".join(step.text for step in steps) + end.text, end.reason


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_json_is_valid(name, seed, words, vocabulary):
    text, reason = babbled(Constraint.json_schema(SCHEMAS[name], vocabulary), words, seed, extra=seed % 3)
    if reason != "length":
        Draft202012Validator(SCHEMAS[name], format_checker=FormatChecker()).validate(json.loads(text))


@pytest.mark.parametrize("name", ["object", "enum", "nested", "union"])
def test_json_is_valid_with_a_real_tokenizer(name, smollm2_words, smollm2_vocabulary):
    constraint = Constraint.json_schema(SCHEMAS[name], smollm2_vocabulary)
    texts = [babbled(constraint, smollm2_words, seed) for seed in range(6)]
    for text, reason in texts:
        assert reason in ("stop", "complete")
        Draft202012Validator(SCHEMAS[name]).validate(json.loads(text))
    assert len({text for text, _ in texts}) > 1


@pytest.mark.parametrize(
    "pattern", ["[0-9]{1,3}(:[0-5][0-9]){0,2}", "(left|right|é+x)( and (up|down))?", "<\\|end\\|>|a", "[^a]{0,4}🐈?"]
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_text_matches_the_whole_expression(pattern, seed, words, vocabulary):
    text, reason = babbled(Constraint.regex(pattern, vocabulary), words, seed)
    assert reason == "length" or re.fullmatch(pattern, text)


def test_objects_are_written_as_json_dumps_writes_them(words, vocabulary):
    schema = {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": ["x", 2]}}, "required": ["a", "b"]}
    schema["additionalProperties"] = False
    assert babbled(Constraint.json_schema(schema, vocabulary), words, 0) == (json.dumps({"a": 1, "b": ["x", 2]}), "complete")


def test_the_turn_ends_only_where_the_text_may(words, vocabulary):
    end, likes = words.special("<|end|>"), [0.0] * words.vocabulary_size
    likes[end] = 9.0  # the model would rather say nothing at all
    request = Request([0], 9, stops={end}, constraint=Constraint.regex("a{3}b*", vocabulary))
    *steps, last = stream(Scripted(likes), request, tokenizer=words)
    assert [step.text for step in steps] == ["a", "a", "a"] and last == End(0, "stop")


def test_a_stop_that_is_ordinary_text_is_no_text_here(words, vocabulary):
    (stop,) = words.encode("b")
    likes = [0.0] * words.vocabulary_size
    likes[stop] = 9.0
    request = Request([0], 4, stops={stop}, constraint=Constraint.regex("[ab]{3}c?", vocabulary))
    *steps, last = stream(Scripted(likes), request, tokenizer=words)
    assert [step.text for step in steps] == ["a", "a", "a"] and last == End(0, "stop")


def test_when_nothing_more_may_come_no_more_is_read(words, vocabulary):
    session = Scripted([0.0] * words.vocabulary_size)
    constraint = Constraint.regex("ab", vocabulary)
    *steps, last = stream(session, Request([0], 9, constraint=constraint), tokenizer=words)
    assert len(steps) == len(session.heard) == 2 and last == End(0, "complete")
    assert list(stream(session, Request([0], 9, constraint=Constraint.regex("", vocabulary)))) == [End(0, "complete")]
    assert len(session.heard) == 2


def test_one_constraint_serves_many_texts(vocabulary, words):
    constraint = Constraint.regex("[ab]c", vocabulary)
    (a,), (c,) = words.encode("a"), words.encode("c")
    first, second = constraint.begin(), constraint.begin()
    first.add(a)
    assert first.allowed.nonzero().tolist() == [[c]] and not second.allowed[c]
    first.add(c)
    assert first.complete and first.may_end and not second.complete
    with pytest.raises(ValueError, match="not allowed"):
        second.add(c)


def deep(levels):
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "animal"}, "animal"),
        ({"type": "object", "properties": []}, "object"),
        ([], "not an object"),
        ("text", "not an object"),
        ({"const": {1, 2}}, "not JSON"),
        ({"maximum": float("nan")}, "not JSON"),
        ({"minimum": -(10**30), "maximum": 10**30, "type": "integer"}, ""),
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "format": "no-such-format"}, "no-such-format"),
        ({"$ref": "https://example.com/schema.json"}, "retrieve|fetch"),
        ({"$ref": "#/$defs/missing"}, ""),
        ({"$ref": "#"}, "no text"),
        ({"type": "string", "pattern": "a(?=b)"}, "look-around"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "minimum"),
        ({"properties": {"p": {"minProperties": 2}}}, "minProperties"),
        (False, "Unsatisfiable|empty|no text|at least|non-empty"),
        (deep(200), "nested|recursion"),
        (deep(5000), "nested"),
        ({"enum": ["x" * 70_000]}, "65,536 is the limit"),
    ],
)
def test_schemas_that_cannot_be_held_to_are_refused_in_one_line(schema, why, vocabulary):
    with pytest.raises(Refusal, match=f"(?s)JSON schema: .*({why})") as caught:
        Constraint.json_schema(schema, vocabulary)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "unclosed"),
        ("a(?=b)", "look-around"),
        (r"(a)\1", "backreference"),
        (r"\bword\b", ""),
        ("[a&&b]", "no text"),
        ("x" * 5000, "4,096 is the limit"),
    ],
)
def test_expressions_that_cannot_be_held_to_are_refused_in_one_line(pattern, why, vocabulary):
    with pytest.raises(Refusal, match=f"(?s)regular expression: .*({why})") as caught:
        Constraint.regex(pattern, vocabulary)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_turns_out_too_large_ends_with_a_refusal(smollm2_words, smollm2_vocabulary):
    constraint = Constraint.regex("(.{0,500}a.{0,500}b){50}", smollm2_vocabulary)
    with pytest.raises(Refusal, match="too many"):
        babbled(constraint, smollm2_words, 1)


def accepts(schema, text, words, vocabulary):
    state = Constraint.json_schema(schema, vocabulary).begin()
    for token in words.encode(text):
        if not state.allowed[token]:
            return False
        state.add(token)
    return state.may_end


def test_a_key_cannot_be_disguised(words, vocabulary):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert accepts(schema, '{"b": "x"}', words, vocabulary) and accepts(schema, '{"a": 1}', words, vocabulary)
    assert not accepts(schema, '{"a": "x"}', words, vocabulary)
    assert not accepts(schema, '{"\\u0061": "x"}', words, vocabulary)


def test_a_schema_may_not_change_how_it_is_written(words, vocabulary):
    schema = {"type": "array", "items": {"type": "integer"}, "x-guidance": {"item_separator": ";", "lenient": True}}
    assert accepts(schema, "[1, 2]", words, vocabulary) and not accepts(schema, "[1;2]", words, vocabulary)


def test_what_only_looks_like_a_keyword_is_left_alone(words, vocabulary):
    schema = {"enum": [{"minProperties": 5}]}
    assert accepts(schema, '{"minProperties": 5}', words, vocabulary)
    assert accepts({"type": "object", "properties": {"minProperties": True}}, '{"minProperties": 1}', words, vocabulary)


def test_a_model_without_the_tokens_is_refused(words, vocabulary):
    (z,) = words.encode("z")
    with pytest.raises(Refusal, match="the model has no token"):
        list(stream(Scripted([0.0] * z), Request([0], 3, constraint=Constraint.regex("z", vocabulary))))
