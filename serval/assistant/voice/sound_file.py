"""Sound as a file of one of the usual kinds."""

from __future__ import annotations

import io
from typing import Final, Literal

import av
import numpy as np

from serval.assistant.voice.waveform import RATE, Numbers

Kind = Literal["wav", "pcm", "mp3", "opus", "flac", "aac"]
MIME: Final[dict[str, str]] = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
}
_CONTAINER: Final = {"wav": "wav", "mp3": "mp3", "opus": "ogg", "flac": "flac", "aac": "adts"}
_CODEC: Final = {"wav": "pcm_s16le", "mp3": "libmp3lame", "opus": "libopus", "flac": "flac", "aac": "aac"}
_BITS: Final = {"mp3": 64_000, "opus": 32_000, "aac": 64_000}  # a second


def pcm(sound: Numbers) -> bytes:
    """Sound (n,) from -1 to 1 as 16-bit numbers, the lower byte first."""
    return (np.clip(sound, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def sound_file(sound: Numbers, kind: Kind) -> bytes:
    """Sound (n,) at `RATE`, one channel, as a file of this kind; ``pcm`` has neither head nor rate."""
    if kind == "pcm":
        return pcm(sound)
    out = io.BytesIO()
    with av.open(out, "w", format=_CONTAINER[kind]) as container:
        stream = container.add_stream(_CODEC[kind], rate=48_000 if kind == "opus" else RATE, layout="mono")
        if kind in _BITS:
            stream.bit_rate = _BITS[kind]
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm(sound), "<i2")[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
