"""The photo worlds: the same seed is the same world, and what is said to happen is what can be seen to."""

import hashlib

import numpy as np
import pytest

from serval.data.worlds.cast import STREET, TABLE, Sprite
from serval.data.worlds.photo_world import Actor, PhotoWorld, Truth
from serval.encoders.labels import COCO
from serval.media.open_video import open_video

WIDTH, HEIGHT = 160, 90
SQUARE = Sprite("square", "cup", np.full((20, 20, 4), (250, 30, 30, 255), np.uint8), 0.4)


def world(**more):
    """A grey room in which a red square of 40 % of its height stands from 1 s to 3 s and then walks out to the right."""
    path = ((1.0, 0.5, 0.8), (3.0, 0.5, 0.8), (5.0, 1.5, 0.8))
    fields = {
        "name": "room",
        "background": np.full((HEIGHT, WIDTH, 3), 100, np.uint8),
        "actors": (Actor(SQUARE, path),),
        "truth": (Truth("appears", 1.0, "cup", "A cup appears."),),
        "seconds": 5.0,
        "noise": 0.0,
    }
    return PhotoWorld(**{**fields, **more})


def red(picture):
    """Where the square is: (left, top, right, bottom) as fractions, or None."""
    rows, columns = np.where((picture[..., 0].astype(int) - picture[..., 1]) > 100)
    if not len(rows):
        return None
    return columns.min() / WIDTH, rows.min() / HEIGHT, (columns.max() + 1) / WIDTH, (rows.max() + 1) / HEIGHT


def digest(pictures):
    found = hashlib.sha256()
    for picture in pictures:
        found.update(picture.tobytes())
    return found.hexdigest()


class TestRendering:
    def test_an_actor_is_where_its_box_says(self):
        room = world()
        for time in (1.0, 2.5, 3.0, 3.5):
            box = room.actors[0].box(time, WIDTH / HEIGHT)
            assert red(room.picture(time)) == pytest.approx((box.left, box.top, min(box.right, 1), box.bottom), abs=0.025)

    def test_it_is_as_tall_as_it_is_said_to_be_and_keeps_its_shape(self):
        box = world().actors[0].box(2.0, WIDTH / HEIGHT)
        assert box.height == pytest.approx(0.4) and box.width * WIDTH == pytest.approx(box.height * HEIGHT)
        assert box.bottom == pytest.approx(0.8)

    def test_it_exists_from_its_first_to_its_last_moment(self):
        room = world()
        assert red(room.picture(0.99)) is None and red(room.picture(1.0)) is not None
        assert red(room.picture(4.9)) is None  # walked out
        assert room.actors[0].box(5.0, 1.0) is None

    def test_the_nearer_one_is_in_front(self):
        blue = Sprite("blue", "cup", np.full((20, 20, 4), (30, 30, 250, 255), np.uint8), 0.4)
        still = ((0.0, 0.5, 0.8), (9.0, 0.5, 0.8))
        for depth, seen in ((1.0, None), (-1.0, "red")):
            picture = world(actors=(Actor(SQUARE, still), Actor(blue, still, depth=depth))).picture(1.0)
            assert (red(picture) is None) == (seen is None)

    def test_what_is_transparent_shows_what_is_behind(self):
        glass = Sprite("glass", "cup", np.full((20, 20, 4), (250, 30, 30, 0), np.uint8), 0.4)
        picture = world(actors=(Actor(glass, ((0.0, 0.5, 0.8), (9.0, 0.5, 0.8))),)).picture(1.0)
        assert (picture == 100).all()

    def test_a_mirrored_sprite_is_mirrored(self):
        half = np.full((20, 20, 4), (250, 30, 30, 255), np.uint8)
        half[:, 10:] = 0
        still = ((0.0, 0.5, 0.8), (9.0, 0.5, 0.8))
        sides = [
            red(world(actors=(Actor(Sprite("half", "cup", half, 0.4), still, mirrored=way),)).picture(1.0)) for way in (0, 1)
        ]
        assert sides[0][2] == pytest.approx(0.5, abs=0.02) and sides[1][0] == pytest.approx(0.5, abs=0.02)

    def test_light_changes_brightness_between_its_points(self):
        room = world(actors=(), lights=((0.0, 1.0), (2.0, 0.5), (4.0, 1.5)))
        assert [int(room.picture(time).mean()) for time in (0.0, 1.0, 2.0, 3.0, 9.0)] == [100, 75, 50, 100, 150]

    def test_the_camera_shakes_only_in_its_spans(self):
        room = world(shakes=((1.0, 2.0, 3.0),))
        still = room.picture(2.5)
        assert (room.picture(2.0) == still).all()
        shaken = [room.picture(time) for time in (1.0, 1.3, 1.6, 1.9)]
        assert all((picture != still).any() for picture in shaken)
        assert all(red(picture) == pytest.approx(red(still), abs=0.07) for picture in shaken)

    def test_noise_is_as_strong_as_said_and_new_in_every_picture(self):
        room = world(actors=(), noise=5.0)
        first, second = room.picture(1.0).astype(float), room.picture(1.1).astype(float)
        assert np.std(first - 99.5) == pytest.approx(5.0, rel=0.1) and np.abs(first - second).mean() > 3

    def test_any_order_of_times_gives_the_same_pictures(self):
        times = [0.5, 1.5, 3.5]
        there, back = world(noise=3.0), world(noise=3.0)
        assert [digest([there.picture(t)]) for t in times] == [digest([back.picture(t)]) for t in times[::-1]][::-1]


class TestFrames:
    def test_times_indices_and_source(self):
        frames = list(world().frames(4.0, start=100.0))
        assert len(frames) == 20 and [frame.index for frame in frames] == list(range(20))
        assert [frame.time for frame in frames[:3]] == [100.0, 100.25, 100.5] and frames[0].source == "room"

    def test_a_written_world_plays_as_it_was(self, tmp_path):
        room = world()
        room.write(tmp_path / "room.mp4", 5.0)
        frames = [item for item in open_video(tmp_path / "room.mp4").items() if hasattr(item, "rgb")]
        assert len(frames) == 25 and frames[10].time == pytest.approx(2.0)
        assert np.abs(frames[10].rgb.astype(int) - room.picture(2.0)).mean() < 6


def test_the_cast_are_things_that_the_detector_knows():
    for label, height in [*STREET.values(), *TABLE.values()]:
        assert label in COCO and 0.1 < height < 0.9


def small(name, seed, **more):
    """A world of the scripts."""
    from serval.data.worlds.scripts import WORLDS

    return WORLDS[name](seed, **more)


def label_actors(room, truth):
    """The boxes of the things of that kind just after the moment."""
    aspect = room.size[0] / room.size[1]
    named = [actor for actor in room.actors if actor.sprite.label == truth.label]
    return [(actor, aspect) for actor in named]


def visible(actor, aspect, time):
    """The share of an actor that is in the picture."""
    box = actor.box(time, aspect)
    if box is None:
        return 0.0
    return max(0.0, min(1.0, box.right) - max(0.0, box.left)) / box.width


@pytest.mark.usefixtures("photos")
class TestScripts:
    @pytest.mark.parametrize("name", ["street", "table", "nothing"])
    def test_the_same_seed_is_the_same_world(self, name):
        first, second, other = small(name, 1), small(name, 1), small(name, 2)
        times = [0.0, 3.2, 11.1]
        assert first.truth == second.truth and [actor.path for actor in first.actors] == [actor.path for actor in second.actors]
        assert digest(map(first.picture, times)) == digest(map(second.picture, times)) != digest(map(other.picture, times))
        assert first.picture(0.0).shape == (360, 640, 3)

    @pytest.mark.parametrize("seed", range(8))
    def test_what_comes_in_is_half_in_at_its_time_and_what_leaves_half_out(self, seed):
        room = small("street", seed)
        for truth in room.truth:
            shares, way = [], 1 if truth.kind == "appears" else -1
            for actor, aspect in label_actors(room, truth):
                before, now, after = (visible(actor, aspect, truth.time + shift * way) for shift in (-0.2, 0.0, 0.2))
                if before < now < after:
                    shares.append(now)
            if truth.kind in ("appears", "leaves"):
                assert any(share == pytest.approx(0.5, abs=0.02) for share in shares), truth

    @pytest.mark.parametrize("seed", range(8))
    def test_the_side_of_the_phrase_is_the_side_of_the_picture(self, seed):
        room = small("street", seed)
        told = [truth for truth in room.truth if "left" in truth.phrase or "right" in truth.phrase]
        for truth in told:
            [box] = [
                box
                for actor, aspect in label_actors(room, truth)
                if (box := actor.box(truth.time, aspect)) and visible(actor, aspect, truth.time) == pytest.approx(0.5, abs=0.02)
            ]
            assert ("left" in truth.phrase.removesuffix(".").split()) == (box.center[0] < 0.5)

    @pytest.mark.parametrize("seed", range(4))
    def test_signs_stand_from_their_time_on(self, seed):
        room = small("street", seed, seconds=240.0)
        for truth in room.truth:
            if truth.kind == "text":
                words = truth.phrase.split('"')[1]
                assert any(actor.sprite.name == f"sign {words}" and actor.path[0][0] == truth.time for actor in room.actors)

    @pytest.mark.parametrize("seed", range(4))
    def test_put_and_taken_are_when_the_hand_is_at_the_thing(self, seed):
        room = small("table", seed)
        assert [truth.kind for truth in room.truth[:2]] == ["put", "taken"] and len(room.truth) % 2 == 0
        aspect = room.size[0] / room.size[1]
        hands = [actor for actor in room.actors if actor.sprite.label == "hand"]
        for truth in room.truth:
            now = truth.time + 1e-6  # one actor hands over to the next at the very moment
            [thing] = [box for actor, _ in label_actors(room, truth) if (box := actor.box(now, aspect))]
            reach = [box for hand in hands if (box := hand.box(now, aspect))]
            assert thing.left >= 0 and thing.right <= 1
            assert len(reach) == 1 and reach[0].intersection(thing) > 0

    def test_pixels_change_when_the_truth_says_so(self):
        room = small("table", 0)
        put, taken = room.truth[:2]
        [box] = {actor.box(put.time + 2.0, 16 / 9) for actor, _ in label_actors(room, put)} - {None}
        left, top, right, bottom = box.pixels(*room.size)
        empty, there, gone = (
            room.picture(time)[top:bottom, left:right].astype(int)
            for time in (put.time - 2.0, put.time + 2.0, taken.time + 2.0)
        )
        assert np.abs(there - empty).mean() > 10 > np.abs(gone - empty).mean()

    @pytest.mark.parametrize("seed", range(6))
    def test_in_a_world_of_nothing_nothing_happens(self, seed):
        room = small("nothing", seed)
        assert room.truth == ()
        assert all(len({point[1:] for point in actor.path}) == 1 for actor in room.actors)

    @pytest.mark.parametrize("name", ["street", "table"])
    def test_truth_is_in_order_and_within_the_world(self, name):
        for seed in range(6):
            times = [truth.time for truth in small(name, seed).truth]
            assert times and times == sorted(times) and times[0] > 0 and times[-1] < small(name, seed).seconds
