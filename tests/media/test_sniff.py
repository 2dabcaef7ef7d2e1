import pytest
from hypothesis import given
from hypothesis import strategies as st

from serval.media.sniff import sniff
from serval.refusal import Refusal

POINTERS = {
    b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n": "playlist",
    b"\xef\xbb\xbf\r\n  #EXTM3U\n": "playlist",
    b"#EXT-X-VERSION:3\n": "playlist",
    b"[playlist]\nFile1=http://10.0.0.1/\n": "playlist",
    b"<ASX version='3'>": "playlist",
    b"http://10.0.0.1/a.ts\n": "playlist",
    b"ffconcat version 1.0\nfile secret.mp4\n": "concat",
    b"file 'secret.mp4'\n": "concat",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n": "session description",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\n": "session description",
    b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">': "DASH",
    b"<mpd >": "DASH",
}
OTHERS = {
    b"": "empty",
    b"hello, this is a note\n": "text",
    "ein Gruß aus Köln".encode(): "text",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": "picture",
    b"RIFF\0\0\0\0WEBPVP8 ": "picture",
    b"RIFF\0\0\0\0WAVEfmt ": "sound",
    b"RIFF\0\0\0\0CDDA": "without video",
    b"ID3\x04\0\0": "sound",
    b"PK\x03\x04\0\0": "unpack",
    b"\x1f\x8b\x08\0": "unpack",
    b"\x00\x01\x02\x03\x04\x05\x06\x07": "no video container",
    b"G" + bytes(300): "no video container",
}
CONTAINERS = {
    b"\0\0\0\x20ftypisom\0\0\0\0": "mov",
    b"\0\0\x10\0moov": "mov",
    b"\x1aE\xdf\xa3\xa3B": "matroska",
    b"RIFF\0\0\0\0AVI LIST": "avi",
    b"GIF89a\x01\0": "gif",
    b"FLV\x01\x05": "flv",
    (b"G" + bytes(187)) * 3: "mpegts",
    bytes(4) + (b"G" + bytes(191)) * 3: "mpegts",
    (b"G" + bytes(203)) * 3: "mpegts",
    b"\0\0\x01\xba\x44": "mpeg",
    b"\0\0\0\x01\x67\x64": "h264",
    b"\0\0\0\x01\x40\x01": "hevc",
    b"\xff\xd8\xff\xe0": "mjpeg",
    b"YUV4MPEG2 W4 H4": "yuv4mpegpipe",
    b"DKIF\0\0 \0VP80": "ivf",
    b"OggS\0\x02": "ogg",
}


@pytest.mark.parametrize(("head", "reason"), [*POINTERS.items(), *OTHERS.items()])
def test_what_is_not_video_is_refused_with_its_own_reason(head, reason):
    with pytest.raises(Refusal) as caught:
        sniff(head, "clip.mp4")
    assert reason in str(caught.value)
    assert caught.value.what == "clip.mp4"
    assert caught.value.remedy


@pytest.mark.parametrize(("head", "name"), CONTAINERS.items())
def test_containers_are_told_by_their_first_bytes(head, name):
    assert sniff(head, "clip.txt") == name


@given(st.binary(max_size=600))
def test_any_bytes_are_a_known_container_or_refused(head):
    try:
        assert sniff(head, "x") in set(CONTAINERS.values()) | {"asf", "mpegvideo"}
    except Refusal as refusal:
        assert "\n" not in str(refusal)
