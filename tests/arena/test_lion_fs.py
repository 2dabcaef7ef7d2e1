"""What LION-FS's checks measure is what they say they do, on models that have learned nothing."""

import pytest
import torch

from serval.arena import lion_fs
from serval.arena.lion_fs import DROPPING, LOOKS, _cost, _cues, _followed, _hands, _kept, _plants, _weights
from serval.data.worlds.hand_streams import oracle
from serval.data.worlds.streams import from_hands, from_planted, hand_words, two_cue_words
from serval.systems.assistants.lion_fs import SYSTEM


def test_all_planted_tokens_are_kept_where_none_skips_and_half_by_chance():
    clips = _plants(5, 4)
    assert _kept(SYSTEM.new(DROPPING["no dropping"]), clips) == 100.0
    model = SYSTEM.new(DROPPING["random half"])
    for layer in model.decoder.layers[::2]:
        layer.router = lion_fs._Chance(0)
    assert _kept(model, clips) == pytest.approx(50, abs=8)


def test_a_router_that_knows_them_keeps_all_planted_tokens():
    """A layer whose router reads a mark that only informative tokens bear."""
    clips = _plants(5, 2)
    model = SYSTEM.new(DROPPING["learned half"])
    marks = torch.cat([torch.from_numpy(clip.informative).flatten() for clip in clips]).float()

    class Knows(torch.nn.Module):
        def forward(self, hidden):
            score = torch.zeros(*hidden.shape[:-1], 1)
            for number, marked in enumerate(self.marks.view(-1, 10)[: lion_fs.FRAMES]):
                start = 2 + 11 * number  # behind what opens the run, and a separator for each frame
                score[0, start : start + 10, 0] = marked
            return score

    knows = Knows()
    model.decoder.layers[0].router = knows
    found = []
    for number, clip in enumerate(clips):
        knows.marks = marks[number * 10 * lion_fs.FRAMES :]
        found.append(_kept(model, [clip]))
    assert found == [100.0, 100.0]


def test_positions_of_a_frame_are_counted_layer_by_layer():
    samples = [from_planted(clip, two_cue_words(), end=0) for clip in _plants(5, 2)]
    all_, half = (_cost(SYSTEM.new(DROPPING[arm]), samples) for arm in ("no dropping", "learned half"))
    assert all_["positions/frame"] - half["positions/frame"] == 2.5  # five of ten, in one layer of two
    assert half["MFLOP/frame"] < all_["MFLOP/frame"]


def test_weights_are_of_the_half_that_is_misled():
    model = SYSTEM.new()
    last = model.bank.mixer.layers[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([[4.0, 0.0]] * 5 + [[0.0, 4.0]] * 5).flatten())
    found = _weights(model, _cues(5, 4))
    assert {kind: round(weight, 2) for kind, weight in found.items()} == {
        "A, general misled, first half": 0.98,
        "A, general misled, second half": 0.02,
        "A, ego misled, first half": 0.98,
        "A, ego misled, second half": 0.02,
    }


def test_a_close_look_changes_no_decision():
    model = SYSTEM.new()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    (stream,) = _hands(5, 1, 0.0)
    sample = from_hands(stream, hand_words(), end=0)
    plain, *others = (_followed(model, sample, stream, arm) for arm in LOOKS)
    assert all(torch.equal(plain.decided, other.decided) for other in others)
    assert len(plain.right) == len(oracle(stream)) == 2
