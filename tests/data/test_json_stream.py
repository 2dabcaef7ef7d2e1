"""JSON of any size: what is found in pieces is what `json` finds in one, and bad files are refused where they are bad."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.data import json_stream
from serval.data.json_stream import members, parse, parse_member
from serval.data.limits import USUAL, DataLimits
from serval.refusal import Refusal

from .strategies import JSON, WORDS


def read(raw: bytes, *inside, limits=USUAL):
    """What stands where, by path."""
    found = {}
    for path, start, part in members(io.BytesIO(raw), "a.json", limits, inside):
        assert raw[start : start + len(part)] == part
        named = path and isinstance(path[-1], str)
        found[path] = parse_member(part, "a", limits)[1] if named else parse(part, "a", limits)
    return found


@settings(max_examples=40)
@given(st.lists(JSON, max_size=4), st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_elements_are_those_of_the_list(values, chunk, indent, ascii_only):
    raw = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)  # so every boundary is met
        assert read(raw, ()) == {(number,): value for number, value in enumerate(values)}
        assert read(b"\xef\xbb\xbf \n" + raw + b"\r\n") == {(): values}


@settings(max_examples=25)
@given(st.dictionaries(WORDS, JSON, max_size=3), st.dictionaries(WORDS, JSON, max_size=3), st.integers(1, 9))
def test_members_are_those_of_an_object_inside_another(inner, outer, chunk):
    outer = {name: value for name, value in outer.items() if name != "videos"} | {"videos": inner, "last": [1]}
    raw = json.dumps(outer).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        found = read(raw, ("videos",))
    assert found == {("videos", name): value for name, value in inner.items()} | {
        (name,): value for name, value in outer.items() if name != "videos"
    }


BAD = {
    "[1, 2": "ends in its middle|comma is missing",
    "[1 2]": "comma is missing",
    "[1,]": "value is missing",
    "[,1]": "value is missing",
    '{"a" 1}': "colon is missing",
    "{a: 1}": "name is missing",
    '{"a": 1,}': "name is missing",
    '["a': "ends in its middle",
    '["a\\': "ends in its middle",
    "[[1]": "comma is missing",
    "[1] [2]": "something follows",
    "": "value is missing",
}


@pytest.mark.parametrize("raw", BAD)
def test_a_broken_file_is_refused_where_it_breaks(raw):
    with pytest.raises(Refusal, match=BAD[raw]) as refused:
        read(raw.encode(), ())
    assert str(refused.value).startswith("a.json, member ")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a": 1, "a": 2}', "a name twice"),
        (b"[NaN]", "NaN is not a number"),
        (b"[-Infinity]", "not a number"),
        (b"[1e999]", "too large"),
        (b'["\\ud800"]', "half of a character"),
        (b'["\xff"]', "not UTF-8"),
        (b"[" * 65 + b"]" * 65, "more than 64 deep"),
        (b"[" + b"9" * 5000 + b"]", "not plain JSON"),
        (b"{", "not JSON"),
    ],
)
def test_a_record_is_strict_json(raw, why):
    with pytest.raises(Refusal, match=why) as refused:
        parse(raw, "a.jsonl line 3", USUAL)
    assert str(refused.value).startswith("a.jsonl line 3: ") and "\n" not in str(refused.value)


def test_brackets_in_strings_are_no_depth():
    assert parse(json.dumps(["[" * 100 + '"{' * 100]).encode(), "a", USUAL)
    assert parse(b'["\\ud83d\\ude00"]', "a", USUAL) == ["😀"]


def test_limits_hold_before_a_record_is_whole():
    tight = DataLimits(record=1000, depth=3)
    for raw in (b'["' + b"a" * 2000, b"[" + b"1" * 2000, b"[[" + b"1," * 1000, b"[" + b" " * 2000):
        with pytest.raises(Refusal, match="more than 1,000 bytes"):
            list(members(io.BytesIO(raw + b" " * 600_000), "a.json", tight, [()]))
    with pytest.raises(Refusal, match="more than 3 deep"):
        list(members(io.BytesIO(b"[[[[[1]]]]]"), "a.json", tight, [()]))


class _Endless(io.RawIOBase):
    """A list of as many records as are asked for, made when they are read."""

    def __init__(self, records: int) -> None:
        self._pieces = iter([b"["] + [b'{"a": "' + b"x" * 10_000 + b'"},'] * records + [b"0]"])

    def read(self, size: int = -1) -> bytes:
        found = b""
        while len(found) < size and (piece := next(self._pieces, None)):
            found += piece
        return found


def test_memory_does_not_grow_with_the_file():
    tracemalloc.start()
    count = sum(1 for _ in members(_Endless(2_000), "a.json", USUAL, [()]))  # 20 MB
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 2_001 and most < 4_000_000
