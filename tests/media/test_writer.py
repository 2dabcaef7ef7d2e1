import resource
from pathlib import Path

import av
import numpy as np
import pytest

import serval.media.writer as writer
from serval.media.open_video import open_video
from serval.media.writer import VideoWriter
from serval.refusal import Refusal


def coloured(index: int, width: int, height: int) -> np.ndarray:
    """A bright square on the left that grows greener, blue on the right."""
    rgb = np.full((height, width, 3), (20, 40, 200), np.uint8)
    rgb[:, : width // 2] = (230, (index * 20) % 200, 30)
    return rgb


def write(path: Path, times, width: int = 64, height: int = 48, fps: float = 25, **more: object) -> None:
    with VideoWriter(path, width, height, fps, **more) as out:
        for index, time in enumerate(times):
            out.write(coloured(index, width, height), time)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".MP4"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pictures_come_back_at_their_times_in_their_colours(tmp_path, monkeypatch, ending, codec):
    monkeypatch.setattr(writer, "_CODECS", tuple(each for each in writer._CODECS if each[0] == codec))
    times = [0.0, 0.04, 0.08, 0.2, 0.5, 1.0]
    write(tmp_path / f"out{ending}", times)
    with open_video(tmp_path / f"out{ending}") as video:
        frames = list(video.frames())
        assert video.info.codec == {"libx264": "h264"}.get(codec, codec)
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.002)
    for index, frame in enumerate(frames):
        assert abs(frame.rgb.astype(int) - coloured(index, 64, 48))[:, 4:24].mean() < 8
        assert abs(frame.rgb.astype(int) - coloured(index, 64, 48))[:, 40:].mean() < 8
    assert names(tmp_path) == [f"out{ending}"]


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (33, 17), (64, 33)])
def test_odd_sizes_become_even_by_repeating_the_edge(tmp_path, size):
    write(tmp_path / "out.mp4", [0.0, 0.1], *size)
    with open_video(tmp_path / "out.mp4") as video:
        frame = next(video.frames())
    assert (frame.width, frame.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert abs(frame.rgb[:, -1].astype(int) - (20, 40, 200)).mean() < 12 or size == (1, 1)


def test_a_picture_of_another_size_is_fitted_with_its_proportions_kept(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 64, 64, 25) as out:
        out.write(np.full((30, 60, 3), 255, np.uint8), 0.0)
    with open_video(tmp_path / "out.mp4") as video:
        rows = next(video.frames()).rgb.mean(axis=(1, 2))
    assert (rows[20:44] > 240).all()
    assert (rows[:12] < 20).all()
    assert (rows[52:] < 20).all()


def test_times_that_do_not_move_on_still_keep_every_picture(tmp_path):
    write(tmp_path / "out.mp4", [0.0, 0.5, 0.5, 0.2, 0.6])
    with open_video(tmp_path / "out.mp4") as video:
        times = [frame.time for frame in video.frames()]
    assert len(times) == 5
    assert times == sorted(set(times))


class TestWholeOrNotThere:
    def test_a_file_of_that_name_stays_until_the_new_one_is_done(self, tmp_path):
        path = tmp_path / "out.mp4"
        path.write_bytes(b"older")
        out = VideoWriter(path, 64, 48, 25)
        out.write(coloured(0, 64, 48), 0.0)
        assert path.read_bytes() == b"older"
        out.close()
        out.close()
        assert av.open(str(path)).streams.video[0].width == 64
        with pytest.raises(ValueError, match="closed"):
            out.write(coloured(0, 64, 48), 0.1)

    def test_an_exception_leaves_what_was_there(self, tmp_path):
        path = tmp_path / "out.mp4"
        path.write_bytes(b"older")
        with pytest.raises(RuntimeError), VideoWriter(path, 64, 48, 25) as out:
            out.write(coloured(0, 64, 48), 0.0)
            raise RuntimeError
        assert path.read_bytes() == b"older"
        assert names(tmp_path) == ["out.mp4"]

    def test_no_picture_leaves_nothing(self, tmp_path):
        with VideoWriter(tmp_path / "out.mp4", 64, 48, 25):
            pass
        assert names(tmp_path) == []

    def test_a_disk_that_takes_no_more_is_told_in_one_line_and_leaves_nothing(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), np.uint8)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            with pytest.raises(Refusal) as caught, VideoWriter(tmp_path / "out.mp4", 320, 240, 25) as out:
                for index, each in enumerate(noise):
                    out.write(each, index / 25)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(caught.value) == "out.mp4: the disk takes no more of it; free some space"
        assert names(tmp_path) == []


class TestRefusals:
    def test_its_own_input_by_any_name(self, tmp_path):
        path = tmp_path / "in.mp4"
        write(path, [0.0])
        before = path.read_bytes()
        (tmp_path / "link.mp4").symlink_to(path)
        (tmp_path / "hard.mp4").hardlink_to(path)
        for name in ("in.mp4", "link.mp4", "hard.mp4", "../" + tmp_path.name + "/in.mp4"):
            with pytest.raises(Refusal, match="very video that is being watched"):
                VideoWriter(tmp_path / name, 64, 48, 25, inputs=[tmp_path / "none.mp4", path])
        assert path.read_bytes() == before
        assert names(tmp_path) == ["hard.mp4", "in.mp4", "link.mp4"]

    @pytest.mark.parametrize("name", ["out.avi", "out", "out.mp4.txt"])
    def test_an_ending_that_is_not_written(self, tmp_path, name):
        with pytest.raises(Refusal, match=r"name it \.mp4"):
            VideoWriter(tmp_path / name, 64, 48, 25)

    def test_places_where_no_file_can_be(self, tmp_path):
        (tmp_path / "folder.mp4").mkdir()
        with pytest.raises(Refusal, match="is no file"):
            VideoWriter(tmp_path / "folder.mp4", 64, 48, 25)
        with pytest.raises(Refusal, match="folder does not exist"):
            VideoWriter(tmp_path / "none" / "out.mp4", 64, 48, 25)
        with pytest.raises(Refusal, match="name is too long"):
            VideoWriter(tmp_path / ("x" * 300 + ".mp4"), 64, 48, 25)

    @pytest.mark.parametrize("size", [(0, 4, 25.0), (4, 0, 25.0), (4, 4, 0.0), (4, 4, float("nan"))])
    def test_sizes_and_rates_that_cannot_be_are_a_defect_of_the_caller(self, tmp_path, size):
        with pytest.raises(ValueError, match="cannot be"):
            VideoWriter(tmp_path / "out.mp4", *size)
