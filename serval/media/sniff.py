"""Which container a file holds, told from its first bytes and from nothing else.

The name found here is passed to the demuxer explicitly, so that no file can choose a demuxer by itself. That matters:
left to probe, FFmpeg takes a text file for a playlist and opens whatever it lists, on this disk or on the network.
"""

from __future__ import annotations

import re

from serval.refusal import Refusal

HEAD = 4096  # bytes of a file that are enough to tell

_MAGIC = (  # first bytes, demuxer
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (b"DKIF\0\0", "ivf"),
    (b"\xff\xd8\xff", "mjpeg"),
    (b"\0\0\x01\xba", "mpeg"),
    (b"\0\0\x01\xb3", "mpegvideo"),
)
_ISO_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_RAW_H264 = re.compile(rb"\0\0\0?\x01[\x09\x06\x27\x47\x67]")
_RAW_HEVC = re.compile(rb"\0\0\0?\x01[\x40\x42\x44\x46]\x01")

# Things that point elsewhere, by how their text begins.
_PLAYLIST = "it is a playlist, which could name any other file or address"
_POINTERS = (
    (re.compile(rb"#EXTM3U|#EXT-X-|\[playlist\]|\[reference\]|<asx|<smil|<\?wpl|rtsptext|rtsp://|https?://", re.I), _PLAYLIST),
    (re.compile(rb"ffconcat|file\s+['\"/.\w]", re.I), "it is a concat script, which could name any other file"),
    (re.compile(rb"v=0\r?\n"), "it is a session description (SDP), which would listen on the network"),
    (
        re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<MPD[\s>]", re.I | re.S),
        "it is a DASH manifest, which names other addresses",
    ),
)
_POINTER_REMEDY = "give the video file itself, or the camera's rtsp:// or http:// address"

_OTHERS = (  # known, and not video
    (b"\x89PNG", "a PNG picture", "give the directory that holds the pictures"),
    (b"BM", "a BMP picture", "give the directory that holds the pictures"),
    (b"ID3", "sound alone (MP3)", "give a file with a picture in it"),
    (b"fLaC", "sound alone (FLAC)", "give a file with a picture in it"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "gzip-compressed", "unpack it first"),
    (b"%PDF", "a PDF", "give a video file"),
    (b"\x7fELF", "a program", "give a video file"),
)


def sniff(head: bytes, what: str) -> str:
    """The demuxer for a container that begins with ``head`` (`HEAD` bytes, or all of a shorter file).

    Raises:
        Refusal: for ``what``, when it is empty, text, something that points elsewhere, or no known video container.
    """
    if not head:
        raise Refusal(what, "the file is empty", "record or copy it again")
    if head[4:8] in _ISO_BOXES:
        return "mov"
    if head[:4] == b"RIFF":
        return _riff(head[8:12], what)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if _is_transport_stream(head):
        return "mpegts"
    if _RAW_HEVC.match(head):
        return "hevc"
    if _RAW_H264.match(head):
        return "h264"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for pattern, why in _POINTERS:
        if pattern.match(text):
            raise Refusal(what, why, _POINTER_REMEDY)
    for magic, why, remedy in _OTHERS:
        if head.startswith(magic):
            raise Refusal(what, f"it is {why}, not video", remedy)
    if _is_text(head):
        raise Refusal(what, "it is text, not video, whatever it is called", "give a video file")
    raise Refusal(what, "it begins like no video container that is known here", "convert it to MP4 or Matroska first")


def sniff_sound(head: bytes, what: str) -> str:
    """The demuxer for a file with sound: WAV, MP3, FLAC, ADTS, or any video container. Raises as `sniff`."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"ID3") or (head[:1] == b"\xff" and head[1:2] and head[1] & 0xE6 in (0xE2, 0xE4)):
        return "mp3"
    if head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0:
        return "aac"
    return sniff(head, what)


def _riff(kind: bytes, what: str) -> str:
    if kind in (b"AVI ", b"AVIX"):
        return "avi"
    if kind == b"WAVE":
        raise Refusal(what, "it is sound alone (WAV), not video", "give a file with a picture in it")
    if kind == b"WEBP":
        raise Refusal(what, "it is a WebP picture, not video", "give the directory that holds the pictures")
    raise Refusal(what, "it is a RIFF file without video", "convert it to MP4 or Matroska first")


def _is_transport_stream(head: bytes) -> bool:
    """Sync bytes one packet apart: plain (188), with Blu-ray time stamps (192, first sync at 4), or with parity (204)."""
    for first, step in ((0, 188), (4, 192), (0, 204)):
        syncs = head[first::step]
        if len(syncs) >= 2 and set(syncs[:5]) == {0x47}:
            return True
    return False


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\r\n\f\x1b" for byte in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # cut within the last character
    return True
