"""Where tokens stand: one after another, in fractions (V2PE), on several axes (M-RoPE of Qwen2-VL)."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel, Qwen2VLConfig, Qwen2VLModel

from serval.conversation.segments import MediaSegment, TextSegment, from_segments, grid_positions
from serval.conversation.sequence import Modality, cat


def embed(ids):
    return torch.zeros(len(ids), 2)


def text(count):
    return TextSegment([1] * count)


def medium(count, **options):
    return MediaSegment(torch.zeros(count, 2), options.pop("modality", Modality.IMAGE), 0, **options)


def positions(segments, **options):
    return from_segments(segments, embed, **options).position[0].tolist()


STEPS = [s / 256 for s in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
runs = st.lists(st.tuples(st.integers(0, 9), st.none() | st.sampled_from(STEPS)), min_size=1, max_size=6)


def v2pe(counted):
    """The rule of V2PE, token by token: text p+1; the k-th of a medium p + k·step, and p becomes the last one's ceiling."""
    p, made = -1.0, []
    for count, step in counted:
        if step is None:
            for _ in range(count):
                p += 1
                made.append(p)
        elif count:
            made += [p + k * step for k in range(1, count + 1)]
            p = math.ceil(made[-1])
    return made


@settings(max_examples=100)
@given(runs)
def test_fractions_follow_v2pes_rule_exactly(counted):
    segments = [text(count) if step is None else medium(count, step=step) for count, step in counted]
    assert positions(segments) == v2pe(counted)


def test_a_small_example_of_it():
    assert positions([text(2), medium(3, step=0.25), text(2)]) == [0, 1, 1.25, 1.5, 1.75, 3, 4]
    assert positions([text(1), medium(256, step=1 / 256), text(1)])[-2:] == [1, 2]  # a whole tile takes one position
    assert positions([text(1), medium(2, step=0.5), medium(2, step=0.5), text(1)]) == [0, 0.5, 1, 1.5, 2, 3]
    assert positions([text(2)], start=7) == [7, 8]


@settings(max_examples=50)
@given(runs)
def test_a_step_of_one_is_ordinary_and_text_after_a_medium_is_whole(counted):
    whole = [text(count) if step is None else medium(count) for count, step in counted]
    assert positions(whole) == list(range(sum(count for count, _ in counted)))
    mixed = from_segments([*(text(n) if s is None else medium(n, step=s) for n, s in counted), text(1)], embed)
    words = mixed.position[0][mixed.modality[0] == Modality.TEXT]
    assert torch.equal(words, words.floor()) and (mixed.position[0].diff() > 0).all()


def test_positions_are_float32_or_refused():
    made = from_segments([text(1), medium(2, step=1 / 256)], embed)
    with pytest.raises(ValueError, match="position"):
        replace(made, position=made.position.bfloat16())


def rope_index(model, items, merge, **options):
    """(positions (length, 3), where the next token stands) by transformers; an item is a number of text tokens, or a grid."""
    kinds, grids = [], {1: [], 2: []}
    for item in items:
        if isinstance(item, int):
            kinds += [0] * item
        else:
            kind, t, h, w = item
            kinds += [kind] * (t * h * w)
            grids[kind].append([t, h * merge, w * merge])
    ids = torch.zeros(1, len(kinds), dtype=torch.int64)
    image, video = (torch.tensor(grids[kind]) if grids[kind] else None for kind in (1, 2))
    found, delta = model.get_rope_index(ids, torch.tensor([kinds]), image, video, **options)
    return found[:, 0].T, float(delta) + len(kinds)


def grids(items, interval=1.0):
    kinds = {1: (Modality.IMAGE, 1.0), 2: (Modality.VIDEO, interval)}
    made = []
    for item in items:
        if isinstance(item, int):
            made.append(text(item))
        else:
            modality, apart = kinds[item[0]]
            made.append(medium(math.prod(item[1:]), modality=modality, positions=grid_positions(*item[1:], apart)))
    return made


@pytest.fixture(scope="module")
def qwen2_vl():
    config = Qwen2VLConfig(text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9})
    config.vision_config.depth = 1
    with torch.device("meta"):
        return Qwen2VLModel(config)


@pytest.fixture(scope="module")
def qwen2_5_vl():
    config = Qwen2_5_VLConfig(text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9})
    config.vision_config.depth = 1
    with torch.device("meta"):
        return Qwen2_5_VLModel(config)


GRIDS = [
    [3, (1, 1, 2, 3), 4],
    [(1, 1, 4, 2), 1, (1, 1, 3, 3), 2, (1, 1, 1, 5), 2],
    [2, (2, 3, 4, 2), 5, (1, 1, 2, 2), (2, 2, 2, 3), 1],
    [5],
]


@pytest.mark.parametrize("items", GRIDS)
def test_several_axes_are_qwen2_vls(qwen2_vl, items):
    expected, following = rope_index(qwen2_vl, items, qwen2_vl.config.vision_config.spatial_merge_size)
    made = from_segments(grids(items), embed).position[0]
    assert torch.equal(made if made.ndim == 2 else made[:, None].expand(-1, 3), expected.float())
    assert float(made.max()) + 1 == following


def test_frames_are_apart_by_their_seconds_as_in_qwen2_5_vl(qwen2_5_vl):
    config, items = qwen2_5_vl.config.vision_config, [2, (2, 3, 9, 2), 1, (1, 1, 2, 2), 1]
    expected, _ = rope_index(qwen2_5_vl, items, config.spatial_merge_size, second_per_grid_ts=torch.tensor([0.7]))
    made = from_segments(grids(items, config.tokens_per_second * 0.7), embed).position[0]
    assert torch.equal(made, expected.float())


def test_text_goes_on_after_the_largest_position_of_any_axis():
    """As Qwen2-VL was tuned: a long video takes as many positions as it has frames. (transformers 5 counts rows and columns
    alone, so text after a video of more frames would stand before its last ones.)"""
    made = from_segments(grids([2, (2, 7, 2, 2), 2]), embed).position[0]
    assert made[-2:].tolist() == [[9, 9, 9], [10, 10, 10]] and made[:-2].max() == 8


def test_positions_may_be_given_for_one_axis_and_text_stands_at_the_same_place_on_all():
    assert positions([text(1), medium(3, positions=torch.tensor([0.0, 2.5, 0.5])), text(1)]) == [0, 1, 3.5, 1.5, 5]
    both = [text(1), medium(1, positions=torch.tensor([4])), medium(1, positions=torch.tensor([[0, 1]])), text(1)]
    assert positions(both) == [[0, 0], [5, 5], [6, 7], [8, 8]]


def test_sequences_of_several_axes_go_on_from_each_other():
    whole = from_segments(grids([3, (1, 1, 2, 3), 4]), embed)
    first = from_segments(grids([3, (1, 1, 2, 3)]), embed)
    rest = from_segments(grids([4]), embed, start=float(first.position.max()) + 1)
    rest = replace(rest, position=rest.position[..., None].expand(-1, -1, 3))
    assert torch.equal(cat([first, rest]).position, whole.position)


@pytest.mark.parametrize("wrong", [torch.zeros(2), torch.zeros(3, 2, 1), torch.tensor(0.0)])
def test_positions_that_do_not_fit_are_an_error(wrong):
    with pytest.raises(ValueError, match=r"positions: .* expected \(3,\)"):
        from_segments([medium(3, positions=wrong)], embed)
    with pytest.raises(ValueError, match=r"positions: of .2, 3. axes"):
        from_segments([medium(1, positions=torch.zeros(1, 2)), medium(1, positions=torch.zeros(1, 3))], embed)
