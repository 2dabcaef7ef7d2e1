import logging
import os
import re
import socket
import struct

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serval.media.frame import Frame
from serval.media.limits import MediaLimits
from serval.media.open_video import open_video
from serval.media.video import Remark
from serval.refusal import Refusal

ADDRESS = re.compile(r"0x[0-9a-f]{6,}", re.I)


def read(path, **options):
    """All frames and all remarks of a file."""
    with open_video(path, source="s", **options) as video:
        items = list(video.items())
    return [item for item in items if isinstance(item, Frame)], [item for item in items if isinstance(item, Remark)]


def refusal(path, **options) -> str:
    with pytest.raises(Refusal) as caught:
        open_video(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.remedy
    assert not ADDRESS.search(text)
    return text


# -- what can be read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", "mp4 mkv avi ts mpg flv webm mjpeg h264 y4m ivf asf".split())
def test_every_container_gives_all_pictures_from_time_zero(clips, suffix):
    frames, remarks = read(clips / f"a.{suffix}")
    assert [frame.index for frame in frames] == list(range(50))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(50)], abs=0.002)
    assert {(frame.width, frame.height, frame.source) for frame in frames} == {(160, 120, "s")}
    assert remarks == []
    assert abs(int(frames[20].rgb[100, 80].mean()) - 120) < 8


def test_the_name_of_a_file_says_nothing_about_its_container(clips, tmp_path):
    path = tmp_path / "clip.m3u8"
    path.write_bytes((clips / "a.mkv").read_bytes())
    assert len(read(path)[0]) == 50


def test_header_facts_are_told(clips):
    with open_video(clips / "a.mp4") as video:
        data = video.info.as_data()
    assert data == {"container": "mov", "codec": "h264", "width": 160, "height": 120, "duration": 2.0, "rate": 25.0}
    with open_video(clips / "a.mjpeg") as video:
        assert video.info.duration is None


def test_two_threads_decode_the_same(clips):
    one, two = read(clips / "a.mp4", threads=1)[0], read(clips / "a.mp4", threads=2)[0]
    assert [frame.sha256 for frame in one] == [frame.sha256 for frame in two]


def test_variable_rate_keeps_its_times(write, draw, tmp_path):
    times = [0.0, 0.04, 0.5, 0.54, 3.0, 30.0]
    for suffix in ("mp4", "mkv"):
        path = write(tmp_path / f"v.{suffix}", [draw(index) for index in range(6)], times=times)
        assert [frame.time for frame in read(path)[0]] == pytest.approx(times, abs=0.002)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (161, 121), (40, 9)])
def test_tiny_and_odd_sizes_come_out_as_they_are(write, draw, tmp_path, width, height):
    pictures = [np.full((height, width, 3), 40 * index, np.uint8) for index in range(3)]
    frames, _ = read(write(tmp_path / "odd.mkv", pictures, codec="ffv1"))
    assert [frame.rgb.shape for frame in frames] == [(height, width, 3)] * 3
    assert [round(float(frame.rgb.mean()) / 40) for frame in frames] == [0, 1, 2]
    assert frames[0].luma.shape == (36, 64)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3), ((1, 0, 0, 1), 0)])
def test_rotated_files_come_out_upright(write, tmp_path, matrix, turns):
    """As a phone does it: the picture is stored turned, and the track's matrix says how to turn it back (clockwise)."""
    upright = np.zeros((120, 160, 3), np.uint8)
    upright[:60, :80] = (220, 30, 30)  # red at the top left,
    upright[60:, 80:] = (30, 30, 220)  # blue at the bottom right
    path = write(tmp_path / "phone.mp4", [np.ascontiguousarray(np.rot90(upright, turns))] * 3)
    data = path.read_bytes()
    a, b, c, d = (value << 16 for value in matrix)
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    with open_video(path) as video:
        assert (video.info.width, video.info.height) == (160, 120)
        frame = next(video.frames())
    assert np.abs(frame.rgb.astype(int) - upright).mean() < 6


def test_a_new_size_in_the_middle_is_told_and_read(write, draw, tmp_path):
    small = write(tmp_path / "small.ts", [draw(index) for index in range(10)], container="mpegts").read_bytes()
    large = write(tmp_path / "large.ts", [draw(index, 320, 240) for index in range(10)], container="mpegts").read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(small + large)
    frames, remarks = read(path)
    assert {(frame.width, frame.height) for frame in frames} == {(160, 120), (320, 240)}
    assert [remark.text for remark in remarks if remark.kind == "resolution"] == ["its picture changes from 160x120 to 320x240"]
    times = [frame.time for frame in frames]
    assert times == sorted(times)


def test_a_clock_that_jumps_back_is_told_and_time_goes_on(write, draw, tmp_path):
    times = [60.0 + index / 25 for index in range(25)]
    late = write(tmp_path / "late.ts", [draw(index) for index in range(25)], container="mpegts", times=times).read_bytes()
    early = write(tmp_path / "early.ts", [draw(index) for index in range(25)], container="mpegts").read_bytes()
    path = tmp_path / "jump.ts"
    path.write_bytes(late + early)
    frames, remarks = read(path)
    assert [remark.kind for remark in remarks] == ["clock_jump"]
    assert remarks[0].data["seconds"] == pytest.approx(-61.0, abs=1.5)
    assert 1.5 < frames[-1].time < 2.5


# -- what is cut off or damaged ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", "front.mp4 a.mkv a.avi a.webm a.flv a.ivf".split())
def test_a_truncated_file_keeps_everything_up_to_there(clips, tmp_path, name):
    data = (clips / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) * 6 // 10])
    whole = read(clips / name)[0]
    frames, remarks = read(path)
    assert 5 < len(frames) < 50
    assert [frame.sha256 for frame in frames[:5]] == [frame.sha256 for frame in whole[:5]]
    assert remarks[-1].kind == "broken"
    assert "header promises 2.00 s" in remarks[-1].text


def test_damage_in_the_middle_is_skipped_and_told(clips, tmp_path):
    with av.open(str(clips / "front.mp4")) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.size][15]
    data = bytearray((clips / "front.mp4").read_bytes())
    data[at : at + 60] = b"\xff" * 60
    path = tmp_path / "bad.mp4"
    path.write_bytes(data)
    frames, remarks = read(path)
    assert [remark.kind for remark in remarks][:1] == ["broken"]
    assert "damaged" in remarks[0].text
    assert frames[-1].time == pytest.approx(49 / 25)  # what comes after the next whole picture is kept
    assert len(frames) > 30


def test_the_index_of_a_file_cut_off_before_it_was_written(clips, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes((clips / "a.mp4").read_bytes()[:2000])
    assert "index is missing" in refusal(path)


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_missing_empty_text_directory_device(tmp_path, clips):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "note.mp4").write_text("Dear diary,\n" * 400)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "no such file" in refusal(tmp_path / "gone.mp4")
    assert "empty" in refusal(tmp_path / "empty.mp4")
    assert "text, not video" in refusal(tmp_path / "note.mp4")
    assert "directory" in refusal(tmp_path)
    assert "pipe" in refusal(tmp_path / "pipe.mp4")
    assert "device" in refusal("/dev/zero")
    assert "cannot be read" in refusal("a\0b")
    assert "no such file" in refusal("a.mp4/b")


def test_a_name_cannot_break_the_line(tmp_path):
    assert "gone?[2J.mp4" in refusal(tmp_path / "gone\x1b[2J.mp4")
    assert len(refusal(tmp_path / ("x" * 200 + ".mp4"))) < 200


def test_sound_alone_is_refused(write, tmp_path):
    for suffix in ("mkv", "ts"):
        path = write(tmp_path / f"song.{suffix}", [], sound=True, container="mpegts" if suffix == "ts" else None)
        assert "sound and no picture" in refusal(path)


def test_sound_beside_pictures_does_no_harm(write, draw, tmp_path):
    frames, remarks = read(write(tmp_path / "talk.mkv", [draw(index) for index in range(10)], sound=True))
    assert (len(frames), remarks) == (10, [])


def test_no_picture_at_all(clips, tmp_path):
    data = (clips / "a.mp4").read_bytes()
    box = data.index(b"mdat") - 4
    size = struct.unpack(">I", data[box : box + 4])[0]
    path = tmp_path / "hollow.mp4"
    path.write_bytes(data[: box + 8] + bytes(size - 8) + data[box + size :])
    assert "no picture in it can be decoded" in refusal(path)


def test_zero_size(clips, tmp_path):
    data = bytearray((clips / "a.y4m").read_bytes())
    path = tmp_path / "zero.y4m"
    path.write_bytes(data.replace(b"W160 H120", b"W0 H0"))
    refusal(path)


def test_limits_are_read_from_headers(clips, tmp_path):
    path = clips / "a.mp4"
    assert "160x120" in refusal(path, limits=MediaLimits(pixels=1000))
    assert "100 pixels" in refusal(path, limits=MediaLimits(side=100))
    assert "aspect" in refusal(path, limits=MediaLimits(aspect=1.2))
    assert "lasts 2 s" in refusal(path, limits=MediaLimits(duration=1.5))
    assert "50 pictures" in refusal(path, limits=MediaLimits(frames=49))
    assert "bytes" in refusal(path, limits=MediaLimits(bytes=100))


def test_limits_hold_where_headers_are_silent(clips):
    frames, remarks = read(clips / "a.mjpeg", limits=MediaLimits(frames=7))
    assert len(frames) == 7
    assert "beyond the limits" in remarks[-1].text
    frames, remarks = read(clips / "a.mjpeg", limits=MediaLimits(duration=1.0))
    assert frames[-1].time == pytest.approx(1.0)
    assert "beyond the limits" in remarks[-1].text


def test_a_picture_that_grows_beyond_the_limits_ends_the_file(write, draw, tmp_path):
    small = write(tmp_path / "small.ts", [draw(index) for index in range(10)], container="mpegts").read_bytes()
    large = write(tmp_path / "large.ts", [draw(index, 320, 240) for index in range(10)], container="mpegts").read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(small + large)
    frames, remarks = read(path, limits=MediaLimits(side=200))
    assert {frame.width for frame in frames} == {160}
    assert remarks[-1].kind == "broken"


def test_a_header_of_huge_dimensions_allocates_nothing(clips, tmp_path):
    for size in (b"W60000 H60000", b"W16000 H16000"):
        path = tmp_path / "huge.y4m"
        path.write_bytes((clips / "a.y4m").read_bytes().replace(b"W160 H120", size))
        refusal(path)


def test_a_decoder_that_is_not_on_the_list_is_refused(write, draw, tmp_path):
    path = write(tmp_path / "rare.avi", [draw(index) for index in range(3)], codec="asv1")
    assert "not decoded here" in refusal(path)


# -- files that point elsewhere -------------------------------------------------------------------------------------------


def test_playlists_and_scripts_reach_nothing(clips, tmp_path):
    """Each of these makes FFmpeg open the other file when it may probe; here none of them even gets to a demuxer."""
    (tmp_path / "secret.mp4").write_bytes((clips / "a.mp4").read_bytes())
    canary = tmp_path / "secret.mp4"
    contents = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{canary}\n#EXT-X-ENDLIST\n",
        "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "script.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "script.mkv": "ffconcat version 1.0\nfile 'secret.mp4'\nduration 2\n",
        "dash.mp4": '<?xml version="1.0"?><MPD><Period><AdaptationSet><BaseURL>secret.mp4</BaseURL>'
        "</AdaptationSet></Period></MPD>",
    }
    with av.open(str(write_text(tmp_path / "control.mp4", contents["script.mp4"]))) as container:
        assert len(list(container.decode(video=0))) == 50  # the danger is real: left to probe, it plays the other file
    for name, content in contents.items():
        assert "which names other" in (text := refusal(write_text(tmp_path / name, content))) or "could name" in text


def write_text(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("spec", ["concat:{0}|{0}", "subfile,,start,0,end,0,,:{0}", "file:{0}", "data:video/mp4;base64,AAAA"])
def test_protocols_in_a_path_are_but_file_names(clips, spec):
    path = spec.format(clips / "a.mp4")
    assert "no such file" in refusal(path) or "cannot be read" in refusal(path)


def test_a_session_description_opens_no_socket(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as canary:
        canary.bind(("127.0.0.1", 0))
        canary.listen()
        canary.setblocking(False)
        port = canary.getsockname()[1]
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        sdp += f"m=video {port} TCP 96\r\na=rtpmap:96 H264/90000\r\n"
        for name, text in {
            "a.mp4": sdp,
            "b.mp4": f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n",
            "c.mp4": f"ffconcat version 1.0\nfile tcp://127.0.0.1:{port}\n",
        }.items():
            refusal(write_text(tmp_path / name, text))
        with pytest.raises(BlockingIOError):
            canary.accept()


def external_reference(data: bytes, target: bytes) -> bytes:
    """The MP4 ``data`` with its first data reference replaced by an alias record that names the file ``target``."""
    path = target.ljust(len(target) + len(target) % 2, b"\0")
    record = bytearray(150)
    record[10:12] = struct.pack(">H", 4)  # volume name "disk"
    record[10] = 4
    record[11:15] = b"disk"
    name = target.rsplit(b"/", 1)[-1]
    record[50] = len(name)
    record[51 : 51 + len(name)] = name
    record[130:134] = struct.pack(">hh", 1, 1)  # levels from, levels to
    alias = bytes(record) + struct.pack(">hH", 2, len(target)) + path + struct.pack(">hH", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    old = data.index(b"url ", data.index(b"dref")) - 4
    more = len(entry) - 12
    data = data[:old] + entry + data[old + 12 :]
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        at = data.rindex(box, 0, old) - 4
        data = data[:at] + struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + more) + data[at + 4 :]
    return data


def test_a_movie_that_keeps_its_data_in_another_file(clips, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((clips / "a.mp4").read_bytes())
    data = external_reference(secret.read_bytes(), str(secret).encode())
    box = data.index(b"mdat") - 4
    size = struct.unpack(">I", data[box : box + 4])[0]
    path = tmp_path / "thief.mp4"
    path.write_bytes(data[: box + 8] + bytes(size - 8) + data[box + size :])
    with av.open(str(path), format="mov", options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 50  # the fixture is good: it does read the other file
    assert "decoded" in refusal(path) or "damaged" in refusal(path)


# -- corruption -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_corrupt_bytes_are_refused_or_read_and_nothing_leaks(clips, tmp_path, caplog, data):
    name = data.draw(st.sampled_from(["front.mp4", "a.mp4", "a.mkv", "a.ts", "a.avi"]))
    content = bytearray((clips / name).read_bytes())
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=12)
    ):
        content[at] = value
    path = tmp_path / name
    path.write_bytes(content)
    texts = []
    with caplog.at_level(logging.DEBUG):
        try:
            with open_video(path, limits=MediaLimits(frames=500, pixels=4_000_000)) as video:
                for item in video.items():
                    if isinstance(item, Frame):
                        assert item.luma.shape == (36, 64)
                    elif isinstance(item, Remark):
                        texts.append(item.text)
        except Refusal as error:
            texts.append(str(error))
    for text in [*texts, caplog.text]:
        assert not ADDRESS.search(text)
        assert "\n" not in text.strip()
