"""GGUF files that nobody vouches for: sizes are checked before they are believed, and refused in one line."""

import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.refusal import Refusal
from serval.weights.gguf import convert
from serval.weights.gguf_file import read_gguf
from serval.weights.gguf_model import read_model

from .gguf_files import write


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = tmp_path / "m.gguf"
    write(whole)
    content = whole.read_bytes()
    for length in [0, 3, 4, 7, 8, 23, 24, *range(30, len(content), len(content) // 40), len(content) - 64]:
        whole.write_bytes(content[:length])
        with pytest.raises(Refusal):
            read_gguf(whole)


HUGE = struct.pack("<Q", 2**63)


def header(*entries: bytes, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries) - tensors) + b"".join(entries)


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def described(name: bytes, sizes: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


NESTED = struct.pack("<IQ", 9, 1) * 1000  # lists in lists


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a GGUF file at all", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 99) + bytes(64), "version"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), "version"),  # for machines that write numbers the other way round
        (b"GGUF" + struct.pack("<I", 3) + HUGE + bytes(64), "entries"),  # tensors
        (b"GGUF" + struct.pack("<I", 3) + bytes(8) + HUGE + bytes(64), "entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + HUGE + bytes(64), "text of absurd length"),  # a key
        (header(text(b"a") + struct.pack("<I", 8) + HUGE + bytes(64)), "text of absurd length"),
        (header(entry(b"a", 8, struct.pack("<Q", 4_000_000) + bytes(64))), "cut short"),
        (header(entry(b"a", 8, text(b"\xff\xfe"))), "damaged"),  # no UTF-8
        (header(entry(b"\xc3", 4, bytes(4))), "damaged"),
        (header(entry(b"a", 99, bytes(64))), "kind of value"),
        (header(entry(b"a", 9, struct.pack("<I", 8) + HUGE + bytes(64))), "list of absurd length"),
        (header(entry(b"a", 9, struct.pack("<IQ", 0, 3_999_999) + bytes(64))), "list of absurd length"),
        (header(entry(b"a", 9, NESTED)), "kind of list"),
        (header(entry(b"a", 4, bytes(4)), entry(b"a", 4, bytes(4))), "a key twice"),
        (header(entry(b"general.alignment", 4, struct.pack("<I", 24))), "alignment"),
        (header(entry(b"general.alignment", 7, b"\1")), "alignment"),
        (header(text(b"t") + struct.pack("<I", 2**31) + bytes(64), tensors=1), "t claims 2147483648 dimensions"),
        (header(text(b"t") + struct.pack("<I", 0) + bytes(64), tensors=1), "t claims 0 dimensions"),
        (header(described(b"t", (2**62, 2**62), 0, 0) + bytes(64), tensors=1), "t lies beyond its end"),
        (header(described(b"t", (4,), 0, 2**63) + bytes(64), tensors=1), "t lies beyond its end"),
        (header(described(b"t", (4,), 0, 4) + bytes(64), tensors=1), "t does not lie at a multiple of 32"),
        (header(described(b"t", (33,), 3, 0) + bytes(64), tensors=1), "t has a shape that its format Q4_1 cannot have"),
        (header(described(b"t", (0, 4), 0, 0) + bytes(64), tensors=1), "t has a shape"),
        (header(described(b"t", (4,), 777, 0) + bytes(64), tensors=1), "t is in a format"),
        (header(described(b"t", (4,), 4, 0) + bytes(64), tensors=1), "t is in a format"),  # one that is no more
        (header(described(b"t", (4,), 0, 0), described(b"t", (4,), 0, 32) + bytes(256), tensors=2), "gives t twice"),
        (
            header(described(b"t", (16,), 0, 0), described(b"u", (4,), 0, 32) + bytes(256), tensors=2),
            "u lies upon another tensor",
        ),
        (header(described(b"t\n", (4,), 777, 0) + bytes(64), tensors=1), "a tensor with a strange name is in a format"),
    ],
)
def test_absurd_headers_are_refused(tmp_path, content, says):
    (tmp_path / "m.gguf").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match=f"^m.gguf: .*{says}") as refused:
            read_gguf(tmp_path / "m.gguf")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert most < 2**18  # nothing was made room for that is not there


def test_absurd_sizes_of_a_model_are_refused(tmp_path):
    write(tmp_path / "m.gguf")
    whole = read_gguf(tmp_path / "m.gguf")
    assert read_model(whole)
    wrong = [0, -1, 3, 10**6, 2**31, 2**63, True, 1.5, "2", [2], None, float("nan")]
    sizes = {key: wrong for key, value in whole.values.items() if key.startswith("llama.") and "rope" not in key}
    sizes["llama.attention.layer_norm_rms_epsilon"] = sizes["llama.rope.freq_base"] = [
        0.0,
        -1.0,
        float("nan"),
        float("inf"),
        "1",
    ]
    sizes["llama.attention.key_length"] = [30, 2**31, 0]
    sizes["llama.context_length"] = [0, -1, 2**31, "8"]
    for key, values in sizes.items():
        for value in values:
            changed = {**whole.values, key: value} if value is not None else {k: v for k, v in whole.values.items() if k != key}
            if value is None and key in ("llama.attention.head_count_kv", "llama.rope.freq_base"):
                continue  # for these there is a default
            with pytest.raises(Refusal) as refused:
                read_model(replace(whole, values=changed))
            assert str(refused.value).startswith("m.gguf: ") and "\n" not in str(refused.value), (key, value)


WHOLE: list[bytes] = []  # written once


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_header_is_read_as_it_says_or_refused(tmp_path_factory, data):
    """What is read is what the gguf package reads, byte by byte."""
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    path = folder / "m.gguf"
    if not WHOLE:
        write(path)
        WHOLE.append(path.read_bytes())
    content = bytearray(WHOLE[0])
    for _ in range(data.draw(st.integers(1, 3))):
        place, change = data.draw(st.integers(4, 2800)), data.draw(st.sampled_from(["byte", "number", "drop", "insert"]))
        if change == "byte":
            content[place] = data.draw(st.integers(0, 255))
        elif change == "number":
            size = data.draw(st.sampled_from([0, 1, 2, 31, 33, 255, 2**16, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            content[place : place + 8] = struct.pack("<Q", size)
        elif change == "drop":
            del content[place : place + data.draw(st.integers(1, 40))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=40))
    path.unlink(missing_ok=True)  # what is mapped is not written over
    path.write_bytes(content)
    try:
        found = read_gguf(path)
        read = GGUFReader(path)
        assert [each.name for each in read.tensors] == list(found.tensors)
        for each in read.tensors:
            tensor = found.tensors[each.name]
            assert tensor.shape == tuple(int(size) for size in reversed(each.shape)) and tensor.kind == each.tensor_type.name
            assert tensor.blocks.tobytes() == each.data.tobytes()
        told = {key: field.contents() for key, field in read.fields.items() if not key.startswith("GGUF.")}
        np.testing.assert_equal(found.values, {key: told[key] for key in found.values})
        convert(path, folder / "out")
    except Refusal as refused:
        assert str(refused).startswith("m.gguf: ") and "\n" not in str(refused)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        read_gguf(tmp_path / "missing.gguf")
