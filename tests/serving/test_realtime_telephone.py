"""G.711: its own values, those of FFmpeg, and that nothing gets lost twice."""

import av
import numpy as np
import pytest

from serval.serving.realtime.telephone import compress, expand

ALL = bytes(range(256))
NAMES = {"mu": "pcm_mulaw", "a": "pcm_alaw"}


@pytest.mark.parametrize(
    ("law", "byte", "sample"),
    [
        *(("mu", 0xFF, 0), ("mu", 0x7F, 0), ("mu", 0x80, 32124), ("mu", 0x00, -32124)),
        *(("mu", 0xFE, 8), ("mu", 0xEF, 132), ("mu", 0x8F, 16764), ("mu", 0x70, -120)),
        *(("a", 0xD5, 8), ("a", 0x55, -8), ("a", 0xAA, 32256), ("a", 0x2A, -32256), ("a", 0xC5, 264), ("a", 0x95, 2112)),
    ],
)
def test_values_of_the_recommendation(law, byte, sample):
    assert expand(bytes([byte]), law).tolist() == [sample]
    assert compress(np.array([sample], np.int16), law)[0] in (byte, 0xFF if sample == 0 else byte)


@pytest.mark.parametrize("law", NAMES)
def test_bytes_are_to_ffmpeg_what_they_are_here(law):
    decoder = av.CodecContext.create(NAMES[law], "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    (frame,) = decoder.decode(av.Packet(ALL))
    assert frame.to_ndarray().ravel().tolist() == expand(ALL, law).tolist()


@pytest.mark.parametrize("law", NAMES)
def test_a_byte_comes_back_as_it_was(law):
    back = compress(expand(ALL, law), law)
    changed = [(one, other) for one, other in zip(ALL, back, strict=True) if one != other]
    assert changed == ([(0x7F, 0xFF)] if law == "mu" else [])  # nothing, below or above zero


@pytest.mark.parametrize("law", NAMES)
def test_every_sample_is_within_half_a_step_of_its_byte(law):
    samples = np.arange(-32635, 32636)  # beyond them a line is overloaded
    told = expand(compress(samples.astype(np.int16), law), law).astype(int)
    values = np.unique(expand(ALL, law).astype(int))
    steps = np.maximum(np.diff(values, prepend=-33280), np.diff(values, append=33280))
    off = np.abs(told - samples) - steps[np.searchsorted(values, told)] / 2
    assert off.max() <= 4  # a step of the quietest: the recommendation has 13 and 14 bits, and this 16
    assert (np.diff(told) >= 0).all()
