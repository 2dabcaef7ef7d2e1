"""One untrusted picture: what is read, what is refused, and that refusing costs nothing."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from serval.media.image import read_image
from serval.media.limits import MediaLimits
from serval.refusal import Refusal

CORNERS = np.zeros((40, 60, 3), np.uint8)
CORNERS[:20, :30] = (220, 30, 30)  # red at the top left,
CORNERS[20:, 30:] = (30, 30, 220)  # blue at the bottom right


def refused(path, **options) -> str:
    with pytest.raises(Refusal) as caught:
        read_image(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(path.name[:20])
    assert caught.value.remedy
    return text


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that promises ``width`` by ``height`` pixels and holds a few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(300))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp", "jpeg", "gif"])
def test_every_listed_format(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    options = {"lossless": True} if kind == "webp" else {"quality": 95, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(CORNERS).save(path, **options)
    pixels = read_image(path)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((40, 60, 3), np.uint8, True)
    assert np.abs(pixels.astype(int) - CORNERS).mean() < (4 if kind == "jpeg" else 0.01)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I", "I;16", "F"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    grey = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    picture = Image.fromarray(grey)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        picture = picture.convert(mode)
    path = tmp_path / "a.tiff"
    picture.save(path)
    pixels = read_image(path)
    assert pixels.shape == (40, 60, 3)
    assert pixels[:, 55:].mean() > 200  # bright at the right,
    assert pixels[:, :5].mean() < 30  # dark at the left, whatever the range of the stored numbers


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, np.rot90(CORNERS, 2)),
        (4, CORNERS[::-1]),
        (6, np.rot90(CORNERS, 1)),
        (8, np.rot90(CORNERS, 3)),
    ],
)
def test_exif_turns_a_picture_upright(tmp_path, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "phone.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(read_image(path), CORNERS)


def test_the_first_of_several_pictures(tmp_path):
    path = tmp_path / "moving.gif"
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    first.save(path, save_all=True, append_images=[second])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_transparent_pixels_are_not_noise(tmp_path):
    """What lies under full transparency is whatever the program left there; a person sees nothing there."""
    hidden = np.zeros((16, 16, 4), np.uint8)
    hidden[:, :8] = (200, 200, 200, 255)
    hidden[:, 8:, :3] = np.random.default_rng(0).integers(0, 255, (16, 8, 3))
    path = tmp_path / "cut-out.png"
    Image.fromarray(hidden).save(path)
    pixels = read_image(path)
    assert len(np.unique(pixels[:, 8:].reshape(-1, 3), axis=0)) == 1
    assert (pixels[:, :8] == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 1), (5, 3)])
def test_tiny_pictures(tmp_path, size):
    path = tmp_path / "tiny.png"
    Image.new("RGB", size, (7, 8, 9)).save(path)
    assert read_image(path).shape == (size[1], size[0], 3)


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = tmp_path / "really-a-png.jpg"
    Image.fromarray(CORNERS).save(path, format="PNG")
    assert np.array_equal(read_image(path), CORNERS)


def test_what_is_no_picture(tmp_path):
    for name, content in {"note.png": b"Dear diary", "page.jpg": b"<svg xmlns='x'/>", "print.png": b"%!PS-Adobe\n"}.items():
        (tmp_path / name).write_bytes(content)
        assert "no picture of a known kind" in refused(tmp_path / name)
    (tmp_path / "empty.png").touch()
    assert "empty" in refused(tmp_path / "empty.png")
    assert "no such file" in refused(tmp_path / "gone.png")
    assert "directory" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe" in refused(tmp_path / "pipe.png")


@pytest.mark.parametrize("kind", ["ppm", "ico", "tga", "pcx", "jp2", "icns"])
def test_formats_that_are_not_listed(tmp_path, kind):
    path = tmp_path / "rare.png"
    Image.fromarray(CORNERS).resize((64, 64)).save(path, format={"jp2": "JPEG2000"}.get(kind, kind.upper()))
    assert "no picture of a known kind" in refused(path)


@pytest.mark.parametrize("size", [(13_000, 13_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (9_000, 3), (5_001, 5_000)])
def test_bombs_are_refused_on_their_header(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    text = refused(path)
    assert "pixels" in text or "too large" in text or "aspect" in text


def test_a_picture_without_size(tmp_path):
    path = tmp_path / "flat.png"
    path.write_bytes(png_header(0, 5))
    refused(path)


def test_limits_are_the_callers(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(CORNERS).save(path)
    assert "60x40" in refused(path, limits=MediaLimits(pixels=2399))
    assert read_image(path, MediaLimits(pixels=2400)).shape == (40, 60, 3)
    assert "bytes" in refused(path, limits=MediaLimits(image_bytes=50))


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "webp", "gif"])
def test_cut_off(tmp_path, kind):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, format=kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    assert "damaged or cut off" in (text := refused(path)) or "known kind" in text


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_corrupt_bytes_are_refused_or_read(tmp_path, recwarn, data):
    kind = data.draw(st.sampled_from(["png", "jpeg", "bmp", "tiff", "webp", "gif"]))
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).save(buffer, format=kind)
    content = bytearray(buffer.getvalue())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)):
        content[at] = value
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    try:
        pixels = read_image(path, MediaLimits(pixels=100_000))
    except Refusal as refusal:
        assert "\n" not in str(refusal)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert pixels.shape[0] * pixels.shape[1] <= 100_000
    assert not recwarn.list  # a library's words never reach the terminal
