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
def segment_lists(draw, axes=None):
    """Stretches of text and media; with axes, positions of some media have as many."""
    made, axes = [], draw(st.sampled_from([0, 3])) if axes is None else axes
    for source in range(draw(st.integers(1, 5))):
        time = draw(st.none() | st.floats(0, 1e6))
        if draw(st.booleans()):
            ids = draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=6))
            made.append(TextSegment(ids, draw(st.booleans()), time, draw(st.sampled_from([-1, 0]))))
        else:
            features = -1.0 - torch.arange(draw(st.integers(0, 5)) * WIDTH).view(-1, WIDTH).float()
            modality = draw(st.sampled_from([Modality.IMAGE, Modality.VIDEO, Modality.AUDIO, Modality.REGION]))
            places = torch.rand(len(features), axes) if axes and draw(st.booleans()) else None
            made.append(MediaSegment(features, modality, source, time, draw(st.sampled_from([1.0, 0.25, 1 / 256])), places))
    return made


def batches(axes):
    one = segment_lists(axes).map(lambda segments: from_segments(segments, embed))
    if axes:  # those in which no medium has axes
        one = one.map(lambda made: made if made.position.ndim == 3 else replace(made, position=spread(made.position, axes)))
    return st.lists(st.lists(one, min_size=1, max_size=3).map(pad_batch), min_size=1, max_size=3)


def spread(position, axes):
    return position[..., None].repeat(1, 1, axes)


sequences = segment_lists().map(lambda segments: from_segments(segments, embed))
few = settings(max_examples=30)


@few
@given(sequences, st.data())
def test_slice_then_cat_is_identity(sequence, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, sequence.length), max_size=4)))
    bounds = [0, *cuts, sequence.length]
    pieces = [sequence.slice(bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]
    assert same(cat(pieces), sequence)


@few
@given(st.sampled_from([0, 3]).flatmap(batches), st.sampled_from(["left", "right"]))
def test_pad_then_select_valid_is_identity(alone, side):
    """Of batches, too, whose rows are padded already."""
    batch, first = pad_batch(alone, side), 0
    assert batch.length == max(each.length for each in alone) and batch.batch == sum(each.batch for each in alone)
    for each in alone:
        for number in range(each.batch):
            row, own = batch.row(first + number), each.row(number)
            assert same(row.select(row.valid), own.select(own.valid))
            assert same(batch.row(first + number - batch.batch), row)
        first += each.batch
    packed = [each.row(number) for each in alone for number in range(each.batch)]
    for other in ("left", "right"):
        assert same(batch.select(batch.valid, other), pad_batch([each.select(each.valid) for each in packed], other))
    padding = ~batch.valid
    assert (batch.embeds[padding] == 0).all() and (batch.labels[padding] == IGNORED).all()
    assert (batch.position[padding] == 0).all() and (batch.source[padding] == -1).all() and batch.time[padding].isnan().all()


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
    batch = pad_batch([sequence, sequence, sequence.slice(0, 1)])
    rows = [data.draw(st.lists(st.booleans(), min_size=batch.length, max_size=batch.length)) for _ in range(batch.batch)]
    keep = torch.tensor(rows, dtype=torch.bool).view(batch.batch, batch.length)
    for side in ("left", "right"):
        kept = batch.select(keep, side)
        alone = [replace_all(batch.row(row), lambda field, row=row: field[:, keep[row]]) for row in range(batch.batch)]
        assert same(kept, pad_batch(alone, side))


def replace_all(sequence, change):
    return MultimodalSequence(**{field.name: change(getattr(sequence, field.name)) for field in fields(sequence)})


@few
@given(segment_lists(), st.data())
def test_scattering_what_media_became_is_building_with_it(segments, data):
    """Placeholders first and features later, or features at once: the same sequence, and gradients reach the features."""
    features = {
        each.source: torch.randn(each.features.shape, generator=torch.Generator().manual_seed(each.source)).requires_grad_()
        for each in segments if isinstance(each, MediaSegment)
    }  # fmt: skip
    whole = from_segments(
        [replace(each, features=features[each.source]) if isinstance(each, MediaSegment) else each for each in segments], embed
    )
    batch = pad_batch([from_segments(segments, embed), whole.slice(0, 0)], data.draw(st.sampled_from(["left", "right"])))
    filled = scatter_media(batch, [features, {}])
    row = filled.row(0)
    assert same(row.select(row.valid), whole)
    weights = torch.randn(filled.embeds.shape, generator=torch.Generator().manual_seed(9))
    if features:
        (filled.embeds * weights).sum().backward()
    for source, each in features.items():
        here = (filled.source[0] == source) & (filled.modality[0] != Modality.TEXT)
        assert torch.equal(each.grad, weights[0, here])


@few
@given(sequences)
def test_on_another_device_it_is_what_it_was(sequence):
    away = sequence.to("meta", torch.bfloat16)
    assert all(getattr(away, field.name).device.type == "meta" for field in fields(away))
    assert [getattr(away, field.name).shape for field in fields(away)] == [
        getattr(sequence, field.name).shape for field in fields(sequence)
    ]
    assert away.embeds.dtype == torch.bfloat16 and away.position.dtype == torch.float32 and away.time.dtype == torch.float64
    for name in ("slice", "row"):
        assert getattr(away, name)(0).embeds.device.type == "meta"
    assert pad_batch([away, away]).embeds.device.type == cat([away, away]).embeds.device.type == "meta"
    assert same(sequence.to(sequence.embeds.device), sequence)


def test_it_is_built_where_the_models_table_is():
    seen = []

    def table(ids):
        seen.append(ids.device.type)
        return torch.zeros(len(ids), WIDTH, dtype=torch.bfloat16, device=ids.device)

    picture = MediaSegment(torch.zeros(2, WIDTH), Modality.IMAGE, 0, positions=torch.zeros(2, 3))
    made = from_segments([TextSegment([1], learn=True), picture], table, device="meta")
    assert seen == ["meta"] and made.embeds.dtype == torch.bfloat16
    assert {getattr(made, field.name).device.type for field in fields(made)} == {"meta"}


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
