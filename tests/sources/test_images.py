"""A directory of pictures as a source."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.refusal import Refusal
from serval.sources.clock import VirtualClock
from serval.sources.feed import Feed
from serval.sources.images import natural
from serval.sources.open import open_source
from serval.sources.source import NoteKind


def grey(path, level, size=(8, 6)):
    Image.new("RGB", size, (level, level, level)).save(path, format=None if path.suffix != ".jpg" else "PNG")


def watch(folder, fps=2.0, **options):
    clock = VirtualClock()
    source = open_source(str(folder), clock=clock, fps=fps, **options)
    items = list(Feed([source], pace="fast", fps=fps, clock=clock).items())
    return [item for item in items if isinstance(item, Frame)], [item for item in items if not isinstance(item, Frame)]


def test_pictures_come_in_their_natural_order(tmp_path):
    names = ["shot-1.png", "shot-2.png", "shot-10.png", "shot-11.PNG", "shot-100.bmp"]
    for level in (3, 0, 4, 2, 1):
        grey(tmp_path / names[level], level * 10)
    (tmp_path / "readme.txt").write_text("not a picture")
    (tmp_path / "more").mkdir()
    frames, notes = watch(tmp_path)
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 10, 20, 30, 40]
    assert [frame.time for frame in frames] == [0, 0.5, 1, 1.5, 2]
    assert [frame.index for frame in frames] == list(range(5))
    assert [note.kind for note in notes] == [NoteKind.OPENED, NoteKind.ENDED]
    assert notes[-1].data == {"pictures": 5}


@given(st.lists(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)))
def test_any_names_can_be_put_in_order(tmp_path_factory, names):
    """Whatever letters, digits and signs that are almost digits: an order, and always the same."""
    base = tmp_path_factory.getbasetemp()
    paths = sorted({base / name for name in names if name not in (".", "..")}, key=natural)
    assert sorted(set(paths), key=natural) == paths


def test_superscripts_are_no_numbers_and_leading_zeros_are_settled(tmp_path):
    names = ["a².png", "a٣.png", "a01.png", "a1.png", "a1b2.png", "a1b10.png", "B.png"]
    paths = [tmp_path / name for name in names]
    assert sorted(paths, key=natural) == sorted(set(paths), key=natural)
    order = [path.name for path in sorted(paths, key=natural)]
    assert order.index("a1b2.png") < order.index("a1b10.png") < order.index("B.png")


def test_a_broken_picture_is_told_and_passed_over(tmp_path):
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 255, (60, 80, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{index}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2.png").write_text("Dear diary")
    frames, notes = watch(tmp_path)
    assert [frame.time for frame in frames] == [0, 1.5]
    broken = [note for note in notes if note.kind is NoteKind.BROKEN]
    assert [(note.time, note.data["file"]) for note in broken] == [(0.5, "1.png"), (1.0, "2.png")]
    assert "damaged or cut off" in broken[0].text
    assert "no picture of a known kind" in broken[1].text
    assert not any("\n" in note.text for note in notes)


def test_a_bomb_is_told_and_the_content_counts(tmp_path):
    grey(tmp_path / "1.jpg", 9)  # a PNG by its content
    Image.new("1", (6000, 6000)).save(tmp_path / "2.png")
    frames, notes = watch(tmp_path)
    assert len(frames) == 1
    assert "6000x6000" in notes[1].text


def test_pictures_of_phones_are_turned_upright(tmp_path):
    upright = np.zeros((6, 8, 3), np.uint8)
    upright[:3, :4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(watch(tmp_path)[0][0].rgb, upright)


def test_a_directory_without_pictures_and_one_with_too_many(tmp_path):
    def refused(**options):
        with pytest.raises(Refusal) as caught:
            watch(tmp_path, **options)
        return str(caught.value)

    (tmp_path / "readme.txt").write_text("hello")
    assert "no picture in this directory" in refused()
    for index in range(4):
        grey(tmp_path / f"{index}.png", 0)
    assert "4 pictures, and 3 are the limit" in refused(limits=MediaLimits(images=3))
