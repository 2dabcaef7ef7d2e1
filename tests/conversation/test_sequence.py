"""Sequences can be cut, joined, padded and moved without a token losing what it is."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serval.conversation.segments import MediaSegment, TextSegment, from_segments
from serval.conversation.sequence import (
    IGNORED,
    Modality,
    MultimodalSequence,
    cat,
    expand_labels,
    pad_batch,
    scatter_media,
)

WIDTH, VOCABULARY = 4, 50
TABLE = torch.arange(VOCABULARY * WIDTH, dtype=torch.float32).view(VOCABULARY, WIDTH) + 1


def embed(ids):
    return TABLE[ids]


def same(one: MultimodalSequence, other: MultimodalSequence) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(a.dtype == b.dtype and torch.equal(a.nan_to_num(-7), b.nan_to_num(-7)) for a, b in pairs)


@st.composite
def segment_lists(draw):
    made = []
    for source in range(draw(st.integers(1, 5))):
        time = draw(st.none() | st.floats(0, 1e6))
        if draw(st.booleans()):
            ids = draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=6))
            made.append(TextSegment(ids, draw(st.booleans()), time))
        else:
            features = -1.0 - torch.arange(draw(st.integers(0, 5)) * WIDTH).view(-1, WIDTH).float()
            modality = draw(st.sampled_from([Modality.IMAGE, Modality.VIDEO, Modality.AUDIO, Modality.REGION]))
            made.append(MediaSegment(features, modality, source, time, draw(st.sampled_from([1.0, 0.25, 1 / 256]))))
    return made


sequences = segment_lists().map(lambda segments: from_segments(segments, embed))
few = settings(deadline=None, max_examples=40)


@few
@given(sequences, st.data())
def test_slice_then_cat_is_identity(sequence, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, sequence.length), max_size=4)))
    bounds = [0, *cuts, sequence.length]
    pieces = [sequence.slice(bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]
    assert same(cat(pieces), sequence)


@few
@given(st.lists(sequences, min_size=1, max_size=4), st.sampled_from(["left", "right"]))
def test_pad_then_select_valid_is_identity(alone, side):
    batch = pad_batch(alone, side)
    assert batch.length == max(each.length for each in alone)
    for number, each in enumerate(alone):
        row = batch.row(number)
        assert same(row.select(row.valid), each)
    for other in ("left", "right"):
        assert same(batch.select(batch.valid, other), pad_batch(alone, other))


@few
@given(segment_lists(), st.booleans())
def test_a_label_names_the_token_that_follows(segments, media_labels):
    sequence = from_segments(segments, embed, media_labels=media_labels)
    learned = [learn for each in segments for learn in wanted(each)]
    for p in range(sequence.length):
        label, text = int(sequence.labels[0, p]), sequence.modality[0, p] == Modality.TEXT
        follows = p + 1 < sequence.length and learned[p + 1] and (text or media_labels)
        assert (label != IGNORED) == follows
        if follows:
            assert torch.equal(TABLE[label], sequence.embeds[0, p + 1])


def wanted(segment):
    text = isinstance(segment, TextSegment)
    return [text and segment.learn] * (len(segment.ids) if text else len(segment.features))


@few
@given(segment_lists())
def test_a_media_token_has_no_label_unless_asked(segments):
    sequence = from_segments(segments, embed)
    assert (sequence.labels[sequence.modality != Modality.TEXT] == IGNORED).all()


@few
@given(sequences, st.sampled_from([torch.bfloat16, torch.float16, torch.float64]))
def test_dtype_moves_the_embeddings_alone(sequence, dtype):
    moved = sequence.to("cpu", dtype)
    assert moved.embeds.dtype == dtype
    assert same(replace(moved, embeds=sequence.embeds), sequence)


@few
@given(sequences, st.data())
def test_select_keeps_positions_and_order(sequence, data):
    keep = torch.tensor([data.draw(st.lists(st.booleans(), min_size=sequence.length, max_size=sequence.length))]).bool()
    kept = sequence.select(keep)
    assert torch.equal(kept.position[0], sequence.position[0][keep[0]])
    assert torch.equal(kept.embeds[0], sequence.embeds[0][keep[0]])
    assert kept.valid.all()


def example() -> MultimodalSequence:
    picture = MediaSegment(torch.zeros(3, WIDTH), Modality.IMAGE, 0, time=2.5, step=0.5)
    clip = MediaSegment(torch.zeros(2, WIDTH), Modality.VIDEO, 1, time=torch.tensor([3.0, 3.5]))
    return from_segments(
        [TextSegment([7, 8]), picture, TextSegment([9], time=2.75), clip, TextSegment([5, 6], learn=True)], embed
    )


def test_fields_of_a_small_example():
    made = example()
    assert made.modality[0].tolist() == [0, 0, 1, 1, 1, 0, 2, 2, 0, 0]
    assert made.source[0].tolist() == [-1, -1, 0, 0, 0, -1, 1, 1, -1, -1]
    assert made.position[0].tolist() == [0, 1, 1.5, 2, 2.5, 4, 5, 6, 7, 8]
    assert made.time[0].nan_to_num(-1).tolist() == [-1, -1, 2.5, 2.5, 2.5, 2.75, 3, 3.5, -1, -1]
    assert made.labels[0].tolist() == [IGNORED] * 8 + [6, IGNORED]
    later = from_segments([TextSegment([1])], embed, start=100.0)
    assert later.position.tolist() == [[100.0]]


def test_several_axes_of_position_pass_through():
    axes = replace(example(), position=torch.arange(30.0).view(1, 10, 3))
    assert same(cat([axes.slice(0, 4), axes.slice(4)]), axes)
    padded = pad_batch([axes, axes.slice(0, 2)], "left")
    assert same(padded.select(padded.valid, "left"), padded)
    with pytest.raises(ValueError, match="axes"):
        cat([axes, example()])


def test_scatter_puts_each_item_where_its_placeholders_stand():
    batch = pad_batch([example(), example().slice(0, 5)], "left")
    picture, clip = torch.full((3, WIDTH), 0.5, requires_grad=True), torch.full((2, WIDTH), 0.25)
    filled = scatter_media(batch, [{0: picture, 1: clip}, {0: picture}])
    assert (
        (filled.embeds[0, 2:5] == 0.5).all() and (filled.embeds[0, 6:8] == 0.25).all() and (filled.embeds[1, 7:] == 0.5).all()
    )
    assert same(replace(filled, embeds=batch.embeds), batch)
    text = batch.valid & (batch.modality == Modality.TEXT)
    assert torch.equal(filled.embeds[text], batch.embeds[text])
    filled.embeds.sum().backward()
    assert (picture.grad == 2).all()
    assert (batch.embeds[0, 2:5] == 0).all()  # the sequence it was made from is as before


@pytest.mark.parametrize(
    "media",
    [
        [],
        [{0: torch.zeros(2, WIDTH)}],
        [{0: torch.zeros(3, WIDTH + 1)}],
        [{9: torch.zeros(1, WIDTH)}],
        [{-1: torch.zeros(5, WIDTH)}],
    ],
)
def test_media_that_do_not_fit_their_placeholders_are_an_error(media):
    with pytest.raises(ValueError, match="media"):
        scatter_media(example(), media)


def test_expand_labels_takes_batches():
    ids, learn = torch.tensor([[1, 2, 0, 3, 4], [5, 6, 7, 8, 9]]), torch.ones(2, 5, dtype=torch.bool)
    modality = torch.tensor([[0, 0, 1, 0, 0], [0] * 5])
    assert expand_labels(ids, learn, modality).tolist() == [[2, -100, -100, 4, -100], [6, 7, 8, 9, -100]]
    assert expand_labels(ids, learn, modality, media=True).tolist() == [[2, -100, 3, 4, -100], [6, 7, 8, 9, -100]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embeds", torch.zeros(1, 10)),
        ("embeds", torch.zeros(1, 10, 4, dtype=torch.int64)),
        ("modality", torch.zeros(1, 9, dtype=torch.int64)),
        ("labels", torch.zeros(1, 10)),
        ("time", torch.zeros(1, 10)),
        ("position", torch.zeros(1, 10, 3, 1)),
        ("valid", torch.ones(1, 10, dtype=torch.int64)),
        ("source", torch.zeros(1, 10, dtype=torch.int64, device="meta")),
    ],
)
def test_fields_that_do_not_fit_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        replace(example(), **{field: value})


def test_what_cannot_be_joined_is_an_error():
    wide = from_segments([TextSegment([1])], lambda ids: torch.zeros(len(ids), WIDTH + 1))
    for join in (cat, pad_batch):
        with pytest.raises(ValueError, match="none"):
            join([])
        with pytest.raises(ValueError, match="embeds"):
            join([example(), wide])
        with pytest.raises(ValueError, match="embeds"):
            join([example(), example().to(dtype=torch.bfloat16)])
    with pytest.raises(ValueError, match="do not fit"):
        cat([example(), pad_batch([example(), example()])])
    with pytest.raises(ValueError, match="mask"):
        example().select(torch.ones(1, 9, dtype=torch.bool))
    with pytest.raises(IndexError, match="row 1"):
        example().row(1)
    with pytest.raises(ValueError, match="features"):
        from_segments([MediaSegment(torch.zeros(2, WIDTH + 1), Modality.IMAGE, 0)], embed)
    with pytest.raises(ValueError, match="time"):
        from_segments([MediaSegment(torch.zeros(2, WIDTH), Modality.IMAGE, 0, time=torch.zeros(3))], embed)
