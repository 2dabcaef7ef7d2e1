"""Streams for a streaming model: what is due is said at the first frame at which it can be known, and files keep it."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from serval.assistant.view import View
from serval.assistant.view_tokens import CLIP, PLACE, PLACES, SCENE, TEXT
from serval.conversation.sequence import IGNORED
from serval.data import photo_streams
from serval.data.gate_streams import PHRASES, Stream
from serval.data.photo_streams import Request, WatchedStream, requests_of
from serval.data.worlds.photo_world import PhotoWorld, Truth
from serval.encoders.percept import Percept
from serval.refusal import Refusal
from serval.training.objectives.balance import SILENT, SPEAK
from serval.training.stream_sample import Words

LETTERS = {"dog": 10, "appears": 11, "leaves": 12, "when?": 13}
COMES = Request("when?", "appears", ((3.1, "dog appears"), (8.0, "dog appears")))


def encode(text, before):
    return [LETTERS.get(word, 9) for word in text.split()]


def stream(*requests, frames=24):
    places = torch.ones(frames, PLACES, PLACE).half()
    return WatchedStream(torch.arange(frames) / 2, torch.ones(frames, SCENE).half(), places, requests)


class TestSample:
    def test_speaks_at_the_first_frame_at_which_it_can_be_known(self):
        made = stream().sample(COMES, encode, 0)
        assert made.words == (
            Words(0, "user", (13,)),
            Words(8, "assistant", (10, 11, 0)),  # 4.0 s: the first from 3.85 s on
            Words(18, "assistant", (10, 11, 0)),
        )
        assert made.decisions.tolist()[:10] == [IGNORED, 0, 0, 0, 0, 0, IGNORED, IGNORED, SPEAK, SILENT]
        assert [each.shape for each in made.features] == [(24, PLACES, SCENE), (24, PLACES, CLIP)]

    def test_a_stretch_has_what_falls_into_it(self):
        made = stream().sample(COMES, encode, 0, slice(10, 20))
        assert len(made) == 10 and made.words[1:] == (Words(8, "assistant", (10, 11, 0)),)

    def test_text_shows_only_to_those_who_ask_for_it(self):
        shown = [stream().sample(Request("when?", kind, ()), encode, 0).features[1][..., TEXT] for kind in ("text", "appears")]
        assert shown[0].all() and not shown[1].any()

    def test_two_things_at_once_are_told_once(self):
        both = Request("when?", "appears", ((3.1, "dog appears"), (3.2, "dog leaves")))
        assert [words.frame for words in stream().sample(both, encode, 0).words] == [0, 8]

    def test_what_is_due_behind_the_end_is_not_taught(self):
        late = Request("when?", "appears", ((11.4, "dog appears"),))
        made = stream().sample(late, encode, 0)
        assert len(made.words) == 1 and SPEAK not in made.decisions


def test_a_clip_shows_what_is_there_and_what_has_changed():
    places = torch.zeros(3, PLACES, PLACE)
    places[1:, 2, 5] = 0.75
    places[1, 0, TEXT] = 1.0
    clips = photo_streams.in_clips(places, text=True)
    assert clips.shape == (3, PLACES, CLIP) and torch.equal(clips[..., :PLACE], places)
    assert clips[:, 2, PLACE + 5].tolist() == [0.0, 0.75, 0.0] and clips[:, 0, PLACE + TEXT].tolist() == [0.0, 1.0, -1.0]
    assert not photo_streams.in_clips(places, text=False)[..., [TEXT, PLACE + TEXT]].any() and places[1, 0, TEXT] == 1.0


def test_what_is_said_names_the_thing_and_what_becomes_of_it():
    truth = (Truth("appears", 4.0, "dog", ""), Truth("leaves", 9.0, "dog", ""), Truth("text", 5.0, "", ""))
    world = PhotoWorld("street-1", np.full((36, 64, 3), 90, np.uint8), (), truth, 30.0)
    said = {each.kind: each.said for each in requests_of(Stream("s", (world,)), PHRASES, absent=()) if each.said}
    assert said["appears"] == ((4.0, "dog appears"),) and said["text"] == ((5.0, "a sign"),)
    assert said["everything"] == ((4.0, "dog appears"), (9.0, "dog leaves")) and said["scene"] == ((0.0, "a new scene"),)


def test_frames_are_read_twice_a_second():
    luma = np.zeros((36, 64), np.uint8)
    times, scene, places = photo_streams.tokens_of(View(Percept("s", n, n / 8, luma), 0.0) for n in range(24))
    assert times.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert scene.shape == (6, SCENE) and places.shape == (6, PLACES, PLACE) and places.dtype == torch.float16


def test_a_file_keeps_all_of_it(tmp_path):
    made = [stream(COMES), stream(COMES, Request("ä?", "text", ()), frames=3)]
    photo_streams.write(tmp_path / "streams.safetensors", made)
    for before, after in zip(made, photo_streams.read(tmp_path / "streams.safetensors"), strict=True):
        assert after.requests == before.requests and torch.equal(after.places, before.places)
        assert torch.equal(after.times, before.times) and torch.equal(after.scene, before.scene)


@pytest.mark.parametrize("content", [b"[[1]]", b"{", b'[["a", "b", [["x", 1]]]]'])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    tensors = {f"0.{name}": torch.zeros(2) for name in ("times", "scene", "places")}
    tensors["0.requests"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(Refusal, match=r"no watched streams; make them"):
        photo_streams.read(tmp_path / "other.safetensors")
    with pytest.raises(Refusal, match="make them"):
        photo_streams.read(tmp_path / "missing.safetensors")
    save_file({f"{number}.x": torch.zeros(1) for number in range(4)}, tmp_path / "none.safetensors")
    with pytest.raises(Refusal, match="no watched streams"):
        photo_streams.read(tmp_path / "none.safetensors")
