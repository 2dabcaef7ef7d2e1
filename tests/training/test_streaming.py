"""When to speak: labels by what tokens are, values by hand, and a stream read frame by frame."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serval.conversation.sequence import IGNORED, Modality, pad_batch
from serval.training.objectives.balance import PLAIN, SILENT, SPEAK, Balance
from serval.training.objectives.gate import Gate, gate_loss
from serval.training.objectives.next_token import NextToken
from serval.training.objectives.streaming import Segment, Streaming, frame_ends, frame_targets, streaming_labels

from .tiny import Told, stream

TEXT, IMAGE, VIDEO, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO, Modality.AUDIO
COMMA, CLOSE = 3, 4  # what silence and speaking are said with
# two tokens a frame with a separator behind, as LIVE's "live1+": f f , f f , f f ] A w w
LAYOUT = [(VIDEO, 0, 2), (TEXT, -1, 1), (VIDEO, 1, 2), (TEXT, -1, 1), (VIDEO, 2, 2), (TEXT, -1, 4)]
WORDS = {9: 7, 10: 8}


def test_what_each_frame_is_followed_by():
    segments = [Segment(1, "user", learn=False), Segment(3, "assistant"), Segment(2, "user"), Segment(2, "end")]
    assert frame_targets(segments) == [IGNORED, SILENT, SILENT, SPEAK, SILENT, IGNORED, SILENT, SILENT]
    assert frame_targets([Segment(4, "assistant", learn=2)]) == [SILENT, SILENT, IGNORED, IGNORED]
    assert frame_targets([Segment(0, "assistant")]) == []


@given(st.lists(st.tuples(st.integers(0, 6), st.one_of(st.booleans(), st.integers(0, 8)))))
def test_as_many_frames_are_taught_as_the_segments_say(sizes):
    targets = frame_targets([Segment(frames, "assistant", learn) for frames, learn in sizes])
    taught = [frames * learn if isinstance(learn, bool) else min(frames, learn) for frames, learn in sizes]
    assert len(targets) == sum(frames for frames, _ in sizes)
    assert sum(each != IGNORED for each in targets) == sum(taught)


def test_labels_stand_at_the_last_token_of_each_frame_and_words_keep_theirs():
    made = streaming_labels(stream(LAYOUT, WORDS), torch.tensor([[SILENT, SILENT, SPEAK]]), (COMMA, CLOSE))
    expected = {1: COMMA, 4: COMMA, 7: CLOSE} | WORDS
    assert {place: label for place, label in enumerate(made.labels[0].tolist()) if label != IGNORED} == expected


def test_frames_are_found_in_rows_of_different_lengths_among_other_media():
    long = stream([(AUDIO, 0, 2), (IMAGE, 1, 3), (TEXT, 1, 1), (VIDEO, 2, 1)], {})
    rows = pad_batch([long, stream([(VIDEO, 0, 2)], {})], side="left")
    assert frame_ends(rows).tolist() == [[-1, 4, 6], [6, -1, -1]]
    made = streaming_labels(rows, torch.tensor([[IGNORED, SILENT, SPEAK], [SPEAK, IGNORED, IGNORED]]), (COMMA, CLOSE))
    assert made.labels[:, [4, 6]].tolist() == [[COMMA, CLOSE], [IGNORED, CLOSE]]


@pytest.mark.parametrize("targets", [[SILENT] * 4, [IGNORED, IGNORED, 2], [IGNORED, -1, IGNORED]])
def test_frames_that_are_not_there_and_unknown_classes_are_refused(targets):
    with pytest.raises(ValueError, match="targets: "):
        streaming_labels(stream(LAYOUT, WORDS), torch.tensor([targets]), (COMMA, CLOSE))


def with_chances(chances: dict[int, float]):
    """The layout with its labels; the label at a place gets the chance given, 11 the rest."""
    made = streaming_labels(stream(LAYOUT, WORDS), torch.tensor([[SILENT, SILENT, SPEAK]]), (COMMA, CLOSE))
    made.embeds.fill_(-1e9)
    for place, chance in chances.items():
        made.embeds[0, place, made.labels[0, place]] = math.log(chance)
        made.embeds[0, place, 11] = math.log(1 - chance)
    return made


CHANCES = {1: 0.8, 4: 0.5, 7: 0.2, 9: 0.5, 10: 0.25}
SURE, EVEN, DOUBT = -math.log(0.8), math.log(2), -math.log(0.2)
SAID = math.log(2) + math.log(4)


@pytest.mark.parametrize(
    ("options", "mean"),
    [
        ({}, (SAID + SURE + EVEN + DOUBT) / 5),
        ({"frames": 0.5}, (SAID + 0.5 * (SURE + EVEN + DOUBT)) / 5),
        ({"balance": Balance((0.5, 3.0))}, (SAID + 0.5 * (SURE + EVEN) + 3 * DOUBT) / 5),
        ({"balance": Balance(gamma=2)}, (SAID + 0.04 * SURE + 0.25 * EVEN + 0.64 * DOUBT) / 5),
        ({"balance": Balance((2.0, 1.0), gamma=1)}, (SAID + 2 * (0.2 * SURE + 0.5 * EVEN) + 0.8 * DOUBT) / 5),
        ({"frames": 0.0}, SAID / 2),
    ],
)
def test_the_streaming_loss_by_hand(options, mean):
    loss = Streaming((COMMA, CLOSE), **options)(Told(), with_chances(CHANCES))
    assert loss.mean.item() == pytest.approx(mean, rel=1e-6)
    told = {name: (total / weight).item() for name, (total, weight) in loss.parts.items()}
    assert told == pytest.approx({"text": SAID / 2, "frames": (SURE + EVEN + DOUBT) / 3, "speaking": DOUBT})


def test_effective_numbers_by_hand():
    raw = (0.1 / (1 - 0.9**10), 0.1 / (1 - 0.9**2))  # 1 / 6.513, 1 / 1.9
    balance = Balance.effective((10, 2), beta=0.9, gamma=1.5)
    assert balance.weights == pytest.approx((2 * raw[0] / sum(raw), 2 * raw[1] / sum(raw)))
    assert balance.gamma == 1.5
    assert Balance.effective((310, 1), beta=0.0).weights == (1, 1)
    assert Balance.effective((310, 1), beta=1 - 1e-9).weights == pytest.approx((2 / 311, 620 / 311), rel=1e-5)
    for counts, beta in [((10, 0), 0.9), ((), 0.9), ((10, 2), 1.0)]:
        with pytest.raises(ValueError, match="each class needs examples"):
            Balance.effective(counts, beta)


def test_three_states_are_weighed_one_by_one():
    row = with_chances(CHANCES)
    third = Streaming((COMMA, 5, CLOSE), balance=Balance((1.0, 100.0, 10.0)))(Told(), row)  # 5 is: stand by
    assert third.total.item() == pytest.approx(SAID + SURE + EVEN + 10 * DOUBT, rel=1e-6)


def test_a_frame_that_says_something_else_is_refused():
    with pytest.raises(ValueError, match="none of the sentinels"):
        Streaming((COMMA, 5))(Told(), with_chances(CHANCES))


@pytest.mark.parametrize("balance", [PLAIN, Balance((0.3, 2.0)), Balance(gamma=2), Balance((0.3, 2.0), 0.5)])
def test_gradients_of_balanced_losses_are_right(balance):
    logits = torch.tensor([-1.3, 0.2, 0.9, 2.5], dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([0, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda x: balance(torch.nn.functional.softplus(x), classes), logits)


def test_certainty_beyond_rounding_has_a_gradient():
    logits = torch.tensor([60.0, -60.0], requires_grad=True)
    gate_loss(logits, torch.tensor([SPEAK, SILENT]), Balance(gamma=0.5)).total.backward()
    assert logits.grad.isfinite().all()


def test_without_frames_it_is_language_modelling(decoder):
    row = streaming_labels(stream(LAYOUT, WORDS), torch.tensor([[SILENT, SILENT, SPEAK]]), (COMMA, CLOSE))
    plain, weights = stream(LAYOUT, WORDS), list(decoder.parameters())
    mine, theirs = Streaming((COMMA, CLOSE), frames=0.0)(decoder, row), NextToken()(decoder, plain)
    torch.testing.assert_close(mine.mean, theirs.mean)
    for left, right in zip(torch.autograd.grad(mine.mean, weights), torch.autograd.grad(theirs.mean, weights), strict=True):
        torch.testing.assert_close(left, right)


class Streamed:
    """A decoder that is given one stretch after another, and remembers."""

    def __init__(self, decoder):
        self.dtype, self.logits, self._decoder, self._cache = decoder.dtype, decoder.logits, decoder, decoder.new_cache(64)

    def read(self, sequence):
        return self._decoder.read(sequence, self._cache)


@pytest.mark.parametrize("balance", [PLAIN, Balance((0.2, 3.0), gamma=2)])
def test_read_frame_by_frame_the_loss_is_that_of_one_pass(decoder, balance):
    objective = Streaming((COMMA, CLOSE), balance=balance)
    row = streaming_labels(stream(LAYOUT, WORDS), torch.tensor([[SILENT, SILENT, SPEAK]]), (COMMA, CLOSE))
    whole, streamed = objective(decoder, row), Streamed(decoder)
    parts = [objective(streamed, row.slice(a, b)) for a, b in ((0, 2), (2, 5), (5, 8), (8, 10), (10, 12))]
    assert sum(each.total for each in parts).item() == pytest.approx(whole.total.item(), rel=1e-5)
    assert sum(each.weight for each in parts) == whole.weight == 5


def test_the_gates_loss_by_hand():
    logits = torch.tensor([[math.log(4), -math.log(4), 0.0, 5.0]])  # speaking with 0.8, 0.2, 0.5
    targets = torch.tensor([[SPEAK, SPEAK, SILENT, IGNORED]])
    plain = gate_loss(logits, targets)
    assert plain.mean.item() == pytest.approx((SURE + DOUBT + EVEN) / 3)
    focal = gate_loss(logits, targets, Balance((0.5, 2.0), gamma=2))
    assert focal.mean.item() == pytest.approx((2 * (0.04 * SURE + 0.64 * DOUBT) + 0.5 * 0.25 * EVEN) / 3)
    assert (plain.parts["speaking"][0] / plain.parts["speaking"][1]).item() == pytest.approx((SURE + DOUBT) / 2)
    with pytest.raises(ValueError, match=r"logits: \(1, 4\), expected one for each target \(1, 3\)"):
        gate_loss(logits, targets[:, :3])


def test_a_gate_is_taught_by_its_own_logits():
    model = torch.nn.Linear(2, 1)
    batch = {"features": torch.randn(1, 3, 2), "targets": torch.tensor([[SILENT, SPEAK, IGNORED]])}
    objective = Gate(lambda model, batch: model(batch["features"])[..., 0])
    loss = objective(model, batch)
    assert loss.total.item() == pytest.approx(gate_loss(model(batch["features"])[..., 0], batch["targets"]).total.item())
    assert loss.weight == 2
