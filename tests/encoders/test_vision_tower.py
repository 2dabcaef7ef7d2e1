"""Every vision family gives transformers' numbers, on the grid that the picture has, at any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from serval.encoders.features import Batch
from serval.encoders.open_tower import new_tower
from serval.encoders.vision_families import VISION_FAMILIES
from serval.refusal import Refusal

COLUMNS = (
    "clip_vision_model",
    "siglip_vision_model",
    "dinov2",
    "dinov2_with_registers",
    "dinov3_vit",
    "vit",
    "blip_2_vision_model",
    "beit",
)
INTERPOLATED = ("clip_vision_model", "siglip_vision_model", "vit", "beit", "blip_2_vision_model", "hiera")
STAGES = ("convnext", "convnextv2", "dinov3_convnext", "focalnet", "hiera")
LARGER = {"hiera": (40, 64), **dict.fromkeys(STAGES[:4], (64, 96))}  # height, width that is not a tower's own


def size_of(tower) -> tuple[int, int]:
    """Its own size, else one that suits it."""
    if tower.config.model_type == "siglip2_vision_model":
        return 28, 28
    size = tower.config.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def pixels(tower, size=None, batch=2, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, *(size or size_of(tower)), generator=generator)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.05  # there is something to be mistaken about


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("size", [None, (42, 63)])
def test_columns_give_the_numbers_of_transformers(tiny, kind, size):
    tower = tiny(kind)
    values, depth = pixels(tower, size), tower.config.num_hidden_layers
    options = {"interpolate_pos_encoding": True} if kind in INTERPOLATED and size else {}
    with torch.no_grad():
        expected = tower.model(values, output_hidden_states=True, **options)
    found = tower.encode(Batch(values), taps=[*range(depth + 1), -2, -1])
    rows, columns = (length // 7 for length in values.shape[-2:])
    prefix = expected.last_hidden_state.shape[1] - rows * columns
    close(found.tokens, expected.last_hidden_state[:, prefix:])
    close(found.pooled, expected.pooler_output)
    assert found.grid == (rows, columns) and set(found.tap_grids) == {(rows, columns)}
    assert found.tokens.shape[1] == rows * columns and found.times is None and found.valid is None
    if prefix:
        close(found.prefix, expected.last_hidden_state[:, :prefix])
    else:
        assert found.prefix is None
    states = [*expected.hidden_states, expected.hidden_states[-2], expected.hidden_states[-1]]
    for tap, state, width in zip(found.taps, states, [*tower.widths, *tower.widths[-2:]], strict=True):
        close(tap, state[:, prefix:])
        assert tap.shape[-1] == width
    assert prefix == {"siglip_vision_model": 0, "dinov2_with_registers": 4, "dinov3_vit": 3}.get(kind, 1)


def test_siglip2_gives_the_numbers_of_its_padded_patches(tiny, street):
    """Transformers pads the patches of every picture to the same number and masks them; here nothing is padded."""
    from transformers import Siglip2ImageProcessorPil

    tower = tiny("siglip2_vision_model")
    reference = Siglip2ImageProcessorPil(patch_size=7, max_num_patches=16)
    tall = np.ascontiguousarray(street[0].transpose(1, 0, 2))
    inputs = reference([street[0], tall], return_tensors="pt")
    with torch.no_grad():
        expected = tower.model(**{**inputs, "pixel_values": inputs["pixel_values"].float()}, output_hidden_states=True)
    for row, picture in enumerate((street[0], tall)):
        found = tower.encode(tower.prepare([picture]), taps=[0, -2])
        rows, columns = inputs["spatial_shapes"][row].tolist()
        assert found.grid == (rows, columns) and (rows < columns) == (row == 0)
        close(found.tokens[0], expected.last_hidden_state[row, : rows * columns])
        close(found.pooled[0], expected.pooler_output[row])
        for tap, depth in zip(found.taps, (0, -2), strict=True):
            close(tap[0], expected.hidden_states[depth][row, : rows * columns])


@pytest.mark.parametrize("kind", ["convnext", "convnextv2", "dinov3_convnext"])
@pytest.mark.parametrize("size", [None, (70, 99)])
def test_stages_of_convolutions_are_maps(tiny, kind, size):
    tower = tiny(kind)
    values = pixels(tower, size)
    with torch.no_grad():
        expected = tower.model(values, output_hidden_states=True)
    found = tower.encode(Batch(values), taps=range(len(tower.widths)))
    for tap, grid, state, width in zip(found.taps, found.tap_grids, expected.hidden_states, tower.widths, strict=True):
        close(tap.reshape(2, *grid, width).permute(0, 3, 1, 2), state)
    last = expected.last_hidden_state
    if kind == "dinov3_convnext":
        close(found.prefix, last[:, :1])
        close(found.tokens, last[:, 1:])
    else:
        close(found.map.permute(0, 3, 1, 2), last)
    close(found.pooled, expected.pooler_output)
    assert found.grid == found.tap_grids[-1] == tuple(expected.hidden_states[-1].shape[-2:])


@pytest.mark.parametrize("size", [None, (40, 72), (33, 50)])
def test_focalnet_gives_maps_before_they_are_halved(tiny, size):
    tower = tiny("focalnet")
    values = pixels(tower, size)
    with torch.no_grad():
        expected = tower.model(values, output_hidden_states=True)
        found = tower.encode(Batch(values), taps=range(len(tower.widths)))
        close(found.tokens, expected.last_hidden_state)
        close(found.pooled, expected.pooler_output)
        close(found.taps[0], expected.hidden_states[0])
        for depth, stage in enumerate(tower.model.encoder.stages, 1):
            state = found.taps[depth]
            if stage.downsample is not None:  # transformers gives what comes after
                rows, columns = found.tap_grids[depth]
                state, _ = stage.downsample(state.transpose(1, 2).reshape(2, -1, rows, columns))
            close(state, expected.hidden_states[depth])
    assert found.tap_grids[0] == found.tap_grids[1] == tuple(-(-length // 4) for length in values.shape[-2:])


def test_hiera_gives_the_maps_of_transformers_at_its_own_size(tiny):
    tower = tiny("hiera")
    values = pixels(tower)
    with torch.no_grad():
        expected = tower.model(values, output_hidden_states=True)
    found = tower.encode(Batch(values), taps=range(len(tower.widths)))
    for tap, grid, state in zip(found.taps, found.tap_grids, expected.reshaped_hidden_states, strict=True):
        close(tap, state.flatten(1, 2))
        assert grid == tuple(state.shape[1:3])
    close(found.tokens, expected.reshaped_hidden_states[-1].flatten(1, 2))
    close(found.pooled, expected.pooler_output)


@pytest.mark.parametrize("pooled_stages", [1, 2])
def test_hiera_with_fewer_halvings_still_stands_in_rows(tiny, pooled_stages):
    """Where windows are left at the end, the last tokens of transformers are not row by row; ours are."""
    tower = tiny("hiera", ("num_query_pool", pooled_stages))
    values = pixels(tower)
    with torch.no_grad():
        expected = tower.model(values, output_hidden_states=True)
    close(tower.encode(Batch(values)).tokens, expected.reshaped_hidden_states[-1].flatten(1, 2))


@pytest.mark.parametrize("kind", INTERPOLATED)
def test_nothing_is_interpolated_at_the_own_size(tiny, kind):
    tower = tiny(kind)
    values = pixels(tower)
    with torch.no_grad():
        plain = tower.model(values).last_hidden_state
        asked = tower.model(values, interpolate_pos_encoding=True).last_hidden_state
    assert torch.equal(plain, asked)
    prefix = 0 if tower.encode(Batch(values)).prefix is None else 1
    assert torch.equal(tower.encode(Batch(values)).pooled, tower.model(values).pooler_output)
    if kind != "hiera":
        assert torch.equal(tower.encode(Batch(values)).tokens, plain[:, prefix:])


@pytest.mark.parametrize("kind", sorted(VISION_FAMILIES))
def test_a_place_in_the_picture_is_that_place_on_the_grid(tiny, kind):
    """What enters the first layer knows of its own patch alone, so one that changes shows where it is, row by row."""
    tower = tiny(kind)
    height, width = LARGER.get(kind, (35, 63))
    values = pixels(tower, (height, width), batch=1)
    depth = 1 if kind == "dinov3_convnext" else 0  # its depth 0 is the picture itself
    before = tower.encode(Batch(values), taps=[depth])
    (rows, columns), step = before.tap_grids[0], height // before.tap_grids[0][0]
    assert (rows, columns) == (height // step, width // step) and rows != columns
    for row, column in ((0, columns - 1), (rows - 1, 0), (rows // 2, columns // 3)):
        changed = values.clone()
        changed[..., row * step : (row + 1) * step, column * step : (column + 1) * step] += 1
        after = tower.encode(Batch(changed), taps=[depth])
        difference = (after.taps[0] - before.taps[0]).abs().sum(-1)[0]
        found = divmod(int(difference.argmax()), columns)
        slack = 1 if kind == "hiera" else 0  # its patches overlap
        assert max(abs(found[0] - row), abs(found[1] - column)) <= slack


@pytest.mark.parametrize("kind", STAGES)
def test_a_place_in_the_picture_is_that_place_on_every_map(tiny, kind):
    tower = tiny(kind)
    height, width = (40, 64) if kind == "hiera" else (128, 192)
    values = pixels(tower, (height, width), batch=1)
    changed = values.clone()
    changed[..., height - 16 : height - 4, 4:16] += 3
    taps = range(len(tower.widths))
    one, other = tower.encode(Batch(values), taps=taps), tower.encode(Batch(changed), taps=taps)
    for before, after, (rows, columns) in zip(one.taps, other.taps, one.tap_grids, strict=True):
        if rows > 7:  # a ConvNeXt kernel covers 7 by 7 at once
            difference = (after - before).abs().sum(-1)[0].reshape(rows, columns)
            assert difference[rows // 2 :, : columns // 2].sum() / difference.sum() > 0.6  # a quarter is chance


@pytest.mark.parametrize("kind", sorted(VISION_FAMILIES))
def test_a_batch_is_its_pictures_one_by_one(tiny, kind):
    tower = tiny(kind)
    values = pixels(tower, LARGER.get(kind), batch=3)
    together = tower.encode(Batch(values), taps=[-2])
    for row in range(3):
        alone = tower.encode(Batch(values[row : row + 1]), taps=[-2])
        assert_close(alone.tokens, together.row(row).tokens, rtol=1e-5, atol=1e-5)
        assert_close(alone.taps[0], together.row(row).taps[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "size", "said"),
    [
        ("hiera", (40, 33), "multiples of 8"),
        ("clip_vision_model", (6, 28), "7 or more"),
        ("convnext", (15, 48), "16 or more"),
        ("dinov3_convnext", (31, 64), "32 or more"),
    ],
)
def test_sizes_that_a_tower_cannot_look_at(tiny, kind, size, said):
    tower = tiny(kind)
    with pytest.raises(Refusal, match=said):
        tower.encode(Batch(pixels(tower, size)))
    with pytest.raises(Refusal, match=said):
        tower.prepare([np.zeros((90, 90, 3), np.uint8)], size=size)


def test_positions_of_another_shape_than_a_square_are_not_interpolated(tiny):
    tower = tiny("vit", ("image_size", (28, 42)))
    assert tower.encode(Batch(pixels(tower, (28, 42)))).grid == (4, 6)
    with pytest.raises(Refusal, match="42x28, not on a square"):
        tower.encode(Batch(pixels(tower, (42, 28))))


@pytest.mark.parametrize("tap", [4, -5])
def test_a_depth_that_is_not_there(tiny, tap):
    with pytest.raises(ValueError, match=rf"Depth {tap} .* 0 to 3"):
        tiny("vit").encode(Batch(pixels(tiny("vit"))), taps=[0, tap])


def test_the_last_tap_is_what_the_final_norm_reads(tiny):
    tower = tiny("dinov2")
    values = pixels(tower)
    found = tower.encode(Batch(values), taps=[-1])
    assert_close(tower.model.layernorm(found.taps[0]), found.tokens)


def test_frozen_towers_stay_as_they_are_and_let_gradients_through_to_pixels():
    config = {"model_type": "dinov3_vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    frozen = new_tower({**config, "intermediate_size": 8, "image_size": 32}, frozen=True)
    whole = torch.nn.ModuleList([frozen])
    whole.train()
    assert whole.training and not frozen.training and not frozen.model.training  # DINOv3 shakes its positions in training
    values = pixels(frozen, batch=1).requires_grad_()
    features = frozen.encode(Batch(values))
    assert features.tokens.requires_grad
    features.tokens[..., 0].sum().backward()
    assert values.grad.abs().sum() > 0 and all(each.grad is None for each in frozen.parameters())
    assert not frozen.encode(Batch(values.detach())).tokens.requires_grad
    frozen.requires_grad_(True).train()
    assert frozen.training
    frozen.encode(Batch(values.detach())).tokens[..., 0].sum().backward()
    assert any(each.grad is not None for each in frozen.parameters())


def test_new_towers_are_the_same_for_the_same_seed_and_leave_the_generator_alone():
    config = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, same, other = (new_tower(config, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.rand(1), expected)
    assert one.identity() == same.identity() != other.identity()
    assert one.training and all(parameter.requires_grad for parameter in one.parameters())


def test_precision_and_preparation_are_part_of_a_towers_identity(tiny):
    tower = new_tower({"model_type": "vit", **tiny("vit").config.to_dict()})
    before = tower.identity()
    assert tower.identity() == before
    tower.to(torch.bfloat16)
    assert tower.identity() != before
    tower.to(torch.float32)
    changed = new_tower({"model_type": "vit", **tiny("vit").config.to_dict()})
    changed.prepared["rescale_factor"] = 1.0
    assert changed.identity() not in (before, tower.identity())
    with torch.no_grad():
        next(tower.parameters()).flatten()[0] += 1e-2
    assert tower.identity() != before


def test_half_precision_goes_through(tiny):
    tower = new_tower({**tiny("clip_vision_model").config.to_dict()}, dtype=torch.bfloat16, frozen=True)
    features = tower.encode(Batch(pixels(tower)), taps=[-2])
    assert features.tokens.dtype == features.taps[0].dtype == torch.bfloat16
