"""LiteRT writes a greeting to standard error when it loads a network; a person should not see it, but all else."""

import os

import numpy as np
import pytest

from serval.encoders.litert_session import LiteRtSession, _without_greeting
from serval.weights import locate

FACES = "face_detection_full_range_sparse.tflite"


def test_loading_leaves_the_terminal_clean(capfd):
    LiteRtSession(locate("mediapipe", FACES))
    assert capfd.readouterr() == ("", "")


def test_other_words_to_standard_error_still_arrive(capfd):
    with _without_greeting():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nsomething is wrong\n")
    assert capfd.readouterr().err == "something is wrong\n"


def test_standard_error_is_given_back_after_a_failure(capfd, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"no network")
    with pytest.raises(ValueError):
        LiteRtSession(tmp_path / "bad.tflite")
    os.write(2, b"still here\n")
    assert capfd.readouterr().err.endswith("still here\n")


def test_outputs_have_no_batch_dimension_and_repeat_exactly():
    session = LiteRtSession(locate("mediapipe", FACES))
    picture = np.random.default_rng(0).random((session.size, session.size, 3), np.float32)
    regressors, logits = session.run(picture)
    assert session.size == 192 and regressors.shape == (2304, 16) and logits.shape == (2304, 1)
    again = session.run(picture)
    assert np.array_equal(again[0], regressors) and np.array_equal(again[1], logits)
