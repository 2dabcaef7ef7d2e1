"""Blocks are read bit by bit as ggml-quants.c writes them: held to its formulas, number by number, and to the gguf package."""

import struct

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize as by_package
from gguf.quants import quantize

from serval.refusal import Refusal
from serval.weights import gguf_blocks
from serval.weights.gguf_blocks import dequantize
from serval.weights.gguf_file import GGUFTensor

KINDS = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K".split()
single = np.float32


def half(block: bytes, at: int) -> np.float32:
    return single(struct.unpack_from("<e", block, at)[0])


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def nibble(packed: bytes, number: int) -> int:
    """Of 16 bytes: the first 16 numbers are the low halves, the others the high ones."""
    return packed[number % 16] >> (4 if number >= 16 else 0) & 15


def fifth(bits: bytes, number: int) -> int:
    return int.from_bytes(bits, "little") >> number & 1


def scale_and_least(packed: bytes, group: int) -> tuple[int, int]:
    """Six bits each of group 0..7: the first four plain, the others' upper bits above those."""
    if group < 4:
        return packed[group] & 63, packed[group + 4] & 63
    low = packed[group + 4]
    return low & 15 | (packed[group - 4] >> 6) << 4, low >> 4 | (packed[group] >> 6) << 4


def k_quant(block: bytes, number: int, packed: bytes, extra: int) -> np.float32:
    """Numbers 0..255: groups of 32; two groups share 32 bytes, the earlier one has the low halves."""
    group, place = divmod(number, 32)
    scale, least = scale_and_least(block[4:16], group)
    level = packed[group // 2 * 32 + place] >> (4 if group % 2 else 0) & 15 | extra << 4
    return half(block, 0) * single(scale) * single(level) - half(block, 2) * single(least)


def six_bits(block: bytes, number: int) -> np.float32:
    side, rest = divmod(number, 128)
    quarter, place = divmod(rest, 32)
    low = block[side * 64 + quarter % 2 * 32 + place] >> (4 if quarter >= 2 else 0) & 15
    level = (low | (block[128 + side * 32 + place] >> 2 * quarter & 3) << 4) - 32
    return half(block, 208) * single(signed(block[192 + number // 16])) * single(level)


REFERENCES = {  # a block's bytes and the place of a number in it, to the number
    "F32": lambda block, number: single(struct.unpack("<f", block)[0]),
    "F16": lambda block, number: half(block, 0),
    "BF16": lambda block, number: single(struct.unpack("<f", b"\0\0" + block)[0]),
    "Q8_0": lambda block, number: single(signed(block[2 + number])) * half(block, 0),
    "Q4_0": lambda block, number: single(nibble(block[2:], number) - 8) * half(block, 0),
    "Q4_1": lambda block, number: single(nibble(block[4:], number)) * half(block, 0) + half(block, 2),
    "Q5_0": lambda block, number: single((nibble(block[6:], number) | fifth(block[2:6], number) << 4) - 16) * half(block, 0),
    "Q5_1": lambda block, number: (
        single(nibble(block[8:], number) | fifth(block[4:8], number) << 4) * half(block, 0) + half(block, 2)
    ),
    "Q4_K": lambda block, number: k_quant(block, number, block[16:], 0),
    "Q5_K": lambda block, number: k_quant(block, number, block[48:], block[16 + number % 32] >> number // 32 & 1),
    "Q6_K": six_bits,
}


def random_rows(kind: str, rows: int = 3, blocks: int = 2) -> np.ndarray:
    """Random bytes, with scales that are ordinary numbers."""
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    random = np.random.default_rng(size)
    made = random.integers(0, 256, (rows * blocks, size), dtype=np.uint8)
    if kind in ("F32", "F16", "BF16"):
        values = random.normal(size=rows * blocks).astype(np.float32)
        made = {"F32": values, "F16": values.astype(np.float16), "BF16": values.view(np.uint32) >> 16}[kind]
        made = (made.astype(np.uint16) if kind == "BF16" else made).view(np.uint8).reshape(rows * blocks, size)
    places = {"Q6_K": (208,), "Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2)}
    for at in places.get(kind, (0,) if kind.startswith("Q") else ()):
        made[:, at : at + 2] = random.normal(size=(rows * blocks, 1)).astype(np.float16).view(np.uint8)
    return made.reshape(rows, blocks * size)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_what_its_formula_says(kind):
    numbers, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    rows = random_rows(kind)
    found = dequantize(kind, rows)
    assert found.shape == (3, 2 * numbers) and found.dtype == np.float32
    for row, line in zip(rows, found, strict=True):
        blocks = row.tobytes()
        expected = [REFERENCES[kind](blocks[at : at + size], n) for at in (0, size) for n in range(numbers)]
        np.testing.assert_array_equal(line, np.array(expected, dtype=np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_reads_the_same(kind):
    rows = random_rows(kind, rows=40, blocks=3)
    np.testing.assert_array_equal(dequantize(kind, rows), np.asarray(by_package(rows, GGMLQuantizationType[kind])))


@pytest.mark.parametrize(
    ("kind", "step"), [("Q8_0", 1 / 127), ("Q4_0", 1 / 8), ("Q4_1", 2 / 15), ("Q5_0", 1 / 16), ("Q5_1", 2 / 31)]
)
def test_what_the_package_quantized_comes_back_within_half_a_step(kind, step):
    """A step is told as a share of the largest number of a block."""
    values = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    found = dequantize(kind, quantize(values, GGMLQuantizationType[kind]))
    error = np.abs(found - values).reshape(-1, 32).max(axis=1) / np.abs(values).reshape(-1, 32).max(axis=1)
    whole = kind in (
        "Q4_0",
        "Q5_0",
    )  # the largest number has a level at one end only, the other end's is cut off by a whole one
    assert (error <= step * (1 if whole else 0.5) * 1.01).all() and error.max() > step / 10


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_sixteen_bits_are_exact_for_what_they_hold(kind):
    values = np.array([[0.0, -0.0, 1.5, -3.25, 2.0**-10, 96.0]], dtype=np.float32)
    np.testing.assert_array_equal(dequantize(kind, quantize(values, GGMLQuantizationType[kind]).view(np.uint8)), values)


def test_rarer_formats_are_read_by_the_package():
    rows = random_rows("Q2_K")
    np.testing.assert_array_equal(dequantize("Q2_K", rows), by_package(rows, GGMLQuantizationType.Q2_K))


def test_a_damaged_scale_is_no_reason_to_warn(recwarn):
    assert not np.isfinite(dequantize("Q4_0", np.full((1, 18), 255, dtype=np.uint8))).any()
    assert not recwarn.list


def tensor(kind: str, shape: tuple[int, ...], rows: np.ndarray) -> GGUFTensor:
    return GGUFTensor("m.gguf", "blk.0.ffn_up.weight", shape, kind, rows)


def test_a_tensor_is_read_in_parts_that_make_the_whole(monkeypatch):
    rows = random_rows("Q4_K", rows=7, blocks=1)
    whole = tensor("Q4_K", (7, 256), rows).dequantize()
    monkeypatch.setattr("serval.weights.gguf_file._AT_ONCE", 512)
    parts = list(tensor("Q4_K", (7, 256), rows).parts())
    assert [start for start, _ in parts] == [0, 2, 4, 6]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), whole)
    np.testing.assert_array_equal(tensor("Q4_K", (7, 256), rows).dequantize(), whole)


def test_experts_lie_behind_each_other():
    rows = random_rows("Q8_0", rows=6)
    experts = tensor("Q8_0", (3, 2, 64), rows)
    for index in range(3):
        assert experts.expert(index).shape == (2, 64)
        np.testing.assert_array_equal(experts.expert(index).dequantize(), experts.dequantize()[index])


def test_a_format_without_numbers_is_refused_naming_file_and_tensor():
    with pytest.raises(Refusal, match=r"^m.gguf: blk.0.ffn_up.weight is of format I32"):
        tensor("I32", (2, 4), np.zeros((2, 16), dtype=np.uint8)).dequantize()


def test_every_format_asked_for_is_read_here():
    assert set(KINDS) == set(gguf_blocks._FORMATS)
