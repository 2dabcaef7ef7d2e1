"""Mamba-2's three scans are one function, its mixer is transformers', and padding, cuts and rows leave no trace."""

import copy
import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import DynamicCache, Mamba2ForCausalLM
from transformers import Mamba2Config as ReferenceConfig

from serval.conversation.sequence import IGNORED, Modality, MultimodalSequence
from serval.language.attention_pattern import FULL, blocks, mutual, prefix
from serval.language.cache import KVCache
from serval.language.config import AttentionConfig, DecoderConfig, FeedForwardConfig, LayerConfig, NormConfig
from serval.language.decoder import Decoder
from serval.language.load import load_decoder, save_decoder
from serval.language.reading import Reading
from serval.language.rotary import Rotary
from serval.language.selective_scan import scan_chunked, scan_parallel, scan_step
from serval.language.state_space import BiMamba2, Mamba2, Mamba2Config, Mamba2Layer
from serval.refusal import Refusal

WIDTH = 24
CONFIG = Mamba2Config(heads=6, head_dim=8, state_size=5, groups=2, chunk=4)
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed))


# --- the scan ---------------------------------------------------------------------------------------------------------------


@st.composite
def scans(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Arguments of a scan, small and of any sizes, heads from slow to forgetful."""
    batch, length, groups = draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 3))
    heads, head_dim, size = groups * draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**30))
    return {
        "x": randn(batch, length, heads, head_dim, seed=seed),
        "dt": torch.rand(batch, length, heads, generator=generator(seed + 1)),
        "A": -randn(heads, seed=seed + 2).exp(),
        "B": randn(batch, length, groups, size, seed=seed + 3),
        "C": randn(batch, length, groups, size, seed=seed + 4),
        "D": randn(heads, seed=seed + 5),
        "state": randn(batch, heads, head_dim, size, seed=seed + 6),
        "valid": torch.rand(batch, length, generator=generator(seed + 7)) > draw(st.sampled_from([-1.0, 0.3])),
    }


def written_out(x, dt, A, B, C, D, state, valid):  # noqa: N803
    """The recurrence as the paper's equations, number by number, in double precision."""
    h, y = state.double().clone(), torch.zeros(x.shape, dtype=torch.float64)
    for row, at, head in torch.cartesian_prod(*(torch.arange(size) for size in x.shape[:3])).tolist():
        group = head // (x.shape[2] // B.shape[2])
        if valid[row, at]:
            h[row, head] *= torch.exp(dt[row, at, head].double() * A[head].double())
            h[row, head] += dt[row, at, head] * torch.outer(x[row, at, head], B[row, at, group])
        y[row, at, head] = h[row, head] @ C[row, at, group].double() + D[head] * x[row, at, head]
    return y.float(), h.float()


def forms(arguments, chunk):
    return scan_step(**arguments), scan_parallel(**arguments), scan_chunked(**arguments, chunk=chunk)


@settings(max_examples=40)
@given(arguments=scans(), chunk=st.integers(1, 21))
def test_three_forms_are_the_recurrence(arguments, chunk):
    expected = written_out(**arguments)
    for found in forms(arguments, chunk):
        torch.testing.assert_close(found, expected, **CLOSE)


@settings(max_examples=40)
@given(arguments=scans(), cuts=st.sets(st.integers(1, 19)), chunk=st.integers(1, 7))
def test_any_form_goes_on_where_another_stopped(arguments, cuts, chunk):
    length, state, read = arguments["x"].shape[1], arguments["state"], []
    edges = [0, *sorted(cut for cut in cuts if cut < length), length]
    for number, (start, end) in enumerate(pairwise(edges)):
        piece = {name: arguments[name][:, start:end] for name in ("x", "dt", "B", "C", "valid")}
        y, state = forms(arguments | piece | {"state": state}, chunk)[number % 3]
        read.append(y)
    torch.testing.assert_close((torch.cat(read, dim=1), state), scan_step(**arguments), **CLOSE)


@settings(max_examples=20)
@given(arguments=scans(), chunk=st.integers(1, 7))
def test_gradients_are_those_of_the_recurrence(arguments, chunk):
    floats = [name for name in arguments if name != "valid"]
    found = []
    for scan, more in ((scan_step, {}), (scan_parallel, {}), (scan_chunked, {"chunk": chunk})):
        leaves = {name: arguments[name].clone().requires_grad_() for name in floats}
        y, state = scan(**leaves, valid=arguments["valid"], **more)
        (y.sin().sum() + state.cos().sum()).backward()
        found.append([leaves[name].grad for name in floats])
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[2], found[0], atol=1e-4, rtol=1e-4)


def test_neighbours_far_along_a_forgetful_head_still_see_each_other():
    """The log decay since the beginning is -6400 there, too coarse in single precision to tell 0.0100 from 0.0098."""
    length = 400
    x, b = torch.zeros(1, length, 1, 1), torch.ones(1, length, 1, 1)
    x[:, -2:] = 1.0
    dt = 0.995 + 0.01 * torch.rand(1, length, 1, generator=generator(3))
    dt[:, -1] = 1e-3
    y, _ = scan_parallel(x, dt, -16 * torch.ones(1), b, b, torch.zeros(1), torch.zeros(1, 1, 1, 1))
    expected = dt[0, -2, 0] * torch.exp(-16 * dt[0, -1, 0]) + dt[0, -1, 0]
    torch.testing.assert_close(y[0, -1, 0, 0], expected, atol=0, rtol=1e-6)


# --- the mixer --------------------------------------------------------------------------------------------------------------


def loud(module: nn.Module, seed: int = 1) -> nn.Module:
    """Weights so large that mistakes show, and no two parameters alike."""
    for number, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, std=0.4, generator=generator(seed + 1000 * number))
    return module.eval()


def mixer(config: Mamba2Config = CONFIG) -> Mamba2:
    return loud(Mamba2(WIDTH, config))


def reference(**changes: object) -> Mamba2ForCausalLM:
    sizes = {"num_heads": 6, "head_dim": 8, "hidden_size": WIDTH, "state_size": 5, "n_groups": 2, "chunk_size": 8}
    return loud(Mamba2ForCausalLM(ReferenceConfig(vocab_size=61, num_hidden_layers=3, **(sizes | changes))))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, {}),
        ({"n_groups": 1, "conv_kernel": 1}, {"groups": 1, "conv_kernel": 1}),
        ({"n_groups": 6, "use_bias": True}, {"groups": 6, "bias": True}),
        ({"use_conv_bias": False, "conv_kernel": 2}, {"conv_bias": False, "conv_kernel": 2}),
        ({"time_step_limit": (0.6, 0.9), "layer_norm_epsilon": 0.5}, {"limit": (0.6, 0.9)}),
    ],
)
def test_the_mixer_is_that_of_transformers(changes, same):
    expected = reference(**changes).backbone.layers[0].mixer
    found = Mamba2(WIDTH, replace(CONFIG, **same), changes.get("layer_norm_epsilon", 1e-5))
    found.load_state_dict(expected.state_dict())
    hidden = randn(2, 21, WIDTH)
    assert expected(hidden).abs().max() > 1  # not a comparison of zeros
    torch.testing.assert_close(found(hidden)[0], expected(hidden), atol=1e-5, rtol=1e-5)


@settings(max_examples=30)
@given(cuts=st.sets(st.integers(1, 17)), seed=st.integers(0, 99))
@torch.inference_mode()
def test_any_way_of_cutting_a_sequence_gives_what_one_pass_gives(cuts, seed):
    mamba, hidden = mixer(), randn(2, 18, WIDTH, seed=seed)
    state, read = None, []
    for start, end in pairwise([0, *sorted(cuts), 18]):
        mixed, state = mamba(hidden[:, start:end], state)
        read.append(mixed)
    whole, last = mamba(hidden)
    torch.testing.assert_close(torch.cat(read, dim=1), whole, **CLOSE)
    torch.testing.assert_close((state.conv, state.ssm), (last.conv, last.ssm), **CLOSE)


@settings(max_examples=30)
@given(data=st.data())
@torch.inference_mode()
def test_padding_leaves_no_trace_wherever_it_stands(data):
    """In any row, at any place, even if it is NaN, in the first pass and in one that goes on from a state."""
    mamba, length = mixer(), data.draw(st.integers(1, 9))
    valid = torch.tensor(data.draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=2, max_size=2)))
    hidden = randn(2, length, WIDTH, seed=length).masked_fill(~valid[..., None], torch.nan)
    _, before = mamba(randn(2, data.draw(st.integers(1, 5)), WIDTH, seed=7))
    for start in (None, before):
        mixed, after = mamba(hidden, start, valid)
        for row in range(2):
            mine = None if start is None else start.select(torch.tensor([row]))
            if valid[row].any():
                alone, mine = mamba(hidden[row, valid[row]][None], mine)
                torch.testing.assert_close(mixed[row, valid[row]], alone[0], **CLOSE)
            if mine is None:
                assert not after.conv[row].any()
                assert not after.ssm[row].any()
            else:
                torch.testing.assert_close((after.conv[row], after.ssm[row]), (mine.conv[0], mine.ssm[0]), **CLOSE)


@torch.inference_mode()
def test_a_state_is_of_one_size_its_rows_go_where_they_are_sent_and_reading_on_leaves_it_as_it_was():
    mamba, hidden = mixer(), randn(3, 12, WIDTH)
    _, first = mamba(hidden[:, :1])
    _, state = mamba(hidden[:, :9])
    assert first.conv.shape == state.conv.shape == (3, 6 * 8 + 2 * 2 * 5, 3)
    assert first.ssm.shape == state.ssm.shape == (3, 6, 8, 5)
    kept = state.conv.clone(), state.ssm.clone()
    rows = torch.tensor([2, 0, 0, 1])
    mixed, _ = mamba(hidden[rows, 9:], state.select(rows))
    torch.testing.assert_close(mixed, mamba(hidden)[0][rows, 9:], **CLOSE)
    assert torch.equal(state.conv, kept[0])
    assert torch.equal(state.ssm, kept[1])


@torch.inference_mode()
@pytest.mark.parametrize("length", [1, 30])
def test_half_precision_rounds_at_the_projections_alone(length):
    """Weights, inputs and outputs are bfloat16; the error is that of rounding each projection's result, about 2⁻⁸ of it."""
    half = mixer().to(torch.bfloat16)
    wide = Mamba2(WIDTH, CONFIG)
    wide.load_state_dict({name: tensor.float() for name, tensor in half.state_dict().items()})
    hidden = randn(2, length, WIDTH).bfloat16()
    (found, state), (expected, _) = half(hidden), wide(hidden.float())
    assert found.dtype == state.conv.dtype == torch.bfloat16
    assert state.ssm.dtype == torch.float32
    assert (found.float() - expected).norm() < 0.006 * expected.norm()


@torch.inference_mode()
def test_autocast_does_not_reach_the_scan():
    mamba, hidden = mixer(), randn(2, 30, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        projected = mamba.in_proj(hidden)
        assert projected.dtype == torch.bfloat16
        y, state = mamba.scan(projected, None, None)
    expected, last = mamba.scan(projected.float(), None, None)
    assert torch.equal(y, expected)
    assert torch.equal(state.ssm, last.ssm)


def test_the_start_is_the_published_one_and_the_seed_decides_it():
    config = Mamba2Config(heads=4000, head_dim=1, state_size=1)
    first, second = Mamba2(2, config), Mamba2(2, config)
    first.reset_parameters(generator(5))
    second.reset_parameters(generator(5))
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    decay, dt = first.A_log.exp().sort().values, nn.functional.softplus(first.dt_bias).log10().sort().values
    torch.testing.assert_close(decay, torch.linspace(1, 16, 4000), atol=0.5, rtol=0)  # uniform
    torch.testing.assert_close(dt, torch.linspace(-3, -1, 4000), atol=0.07, rtol=0)  # uniform in the logarithm
    assert (first.D == 1).all()
    assert (first.norm.weight == 1).all()
    assert 0.49 < first.conv1d.weight.abs().max() <= 0.5  # 1 / √4
    assert 0.69 < first.in_proj.weight.abs().max() <= 2**-0.5
    second.reset_parameters(generator(6))
    assert not torch.equal(first.A_log, second.A_log)


@pytest.mark.parametrize("changes", [{"groups": 4}, {"heads": 0}, {"chunk": 0}, {"conv_kernel": 0}])
def test_sizes_that_cannot_be(changes):
    with pytest.raises(ValueError, match=r"below 1|do not divide"):
        replace(CONFIG, **changes)


# --- both directions --------------------------------------------------------------------------------------------------------


def one_way(both: BiMamba2, direction: nn.Module) -> Mamba2:
    """A plain mixer with one of the directions' parameters and the shared projections and norm."""
    shared = {name: tensor for name, tensor in both.state_dict().items() if name.startswith(("in_proj", "norm", "out_proj"))}
    single = Mamba2(WIDTH, CONFIG)
    single.load_state_dict(direction.state_dict() | shared)
    return single


@torch.inference_mode()
def test_both_directions_are_the_mean_of_one_and_the_other():
    both, hidden = loud(BiMamba2(WIDTH, CONFIG)), randn(2, 11, WIDTH)
    there, _ = one_way(both, both.ahead)(hidden)
    back, _ = one_way(both, both.back)(hidden.flip(1))
    torch.testing.assert_close(both(hidden), (there + back.flip(1)) / 2, **CLOSE)


@torch.inference_mode()
def test_directions_with_the_same_parameters_turn_with_the_sequence():
    both, hidden = loud(BiMamba2(WIDTH, CONFIG)), randn(2, 11, WIDTH)
    assert not torch.allclose(both(hidden.flip(1)), both(hidden).flip(1), atol=0.1)
    both.back.load_state_dict(both.ahead.state_dict())
    torch.testing.assert_close(both(hidden.flip(1)), both(hidden).flip(1), **CLOSE)


@torch.inference_mode()
def test_one_direction_is_causal_and_both_are_not():
    forward, both, hidden = mixer(), loud(BiMamba2(WIDTH, CONFIG)), randn(1, 11, WIDTH)
    other = hidden.clone()
    other[:, 6:] = randn(1, 5, WIDTH, seed=9)
    torch.testing.assert_close(forward(other)[0][:, :6], forward(hidden)[0][:, :6], **CLOSE)
    assert ((both(other) - both(hidden))[:, :6].abs().amax(-1) > 1e-4).all()


@torch.inference_mode()
def test_both_directions_pass_over_padding():
    both, hidden = loud(BiMamba2(WIDTH, CONFIG)), randn(2, 11, WIDTH)
    valid = torch.ones(2, 11, dtype=torch.bool)
    valid[0, 7:] = valid[1, :2] = valid[1, 5] = False
    mixed = both(hidden.masked_fill(~valid[..., None], torch.nan), valid)
    for row in range(2):
        torch.testing.assert_close(mixed[row, valid[row]], both(hidden[row, valid[row]][None])[0], **CLOSE)


def test_the_way_back_starts_as_the_way_ahead_but_for_its_convolution():
    both = BiMamba2(WIDTH, CONFIG)
    both.reset_parameters(generator(2))
    assert torch.equal(both.back.A_log, both.ahead.A_log)
    assert torch.equal(both.back.dt_bias, both.ahead.dt_bias)
    assert not torch.equal(both.back.conv1d.weight, both.ahead.conv1d.weight)


# --- modalities -------------------------------------------------------------------------------------------------------------


class Typed(nn.Module):
    """A linear map for each modality."""

    reads_sequence = True

    def __init__(self, *maps: nn.Linear) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps)

    def forward(self, hidden: torch.Tensor, sequence: MultimodalSequence) -> torch.Tensor:
        mapped = torch.stack([each(hidden) for each in self.maps])  # (maps, batch, length, width)
        return mapped.gather(0, sequence.modality[None, ..., None].expand(1, -1, -1, mapped.shape[-1]))[0]


def sequence_of(hidden: torch.Tensor, valid: torch.Tensor | None = None, modality: torch.Tensor | None = None):
    shape, start = hidden.shape[:2], torch.zeros(hidden.shape[:2], dtype=torch.int64)
    return MultimodalSequence(
        embeds=hidden,
        modality=start if modality is None else modality,
        source=start - 1,
        time=torch.full(shape, torch.nan, dtype=torch.float64),
        position=torch.arange(shape[1]).expand(shape).float(),
        labels=start + IGNORED,
        valid=torch.ones(shape, dtype=torch.bool) if valid is None else valid,
    )


def typed_mixer(*, alike: bool) -> Mamba2:
    """A mixer with projections for two modalities: those of `mixer`, where they are to be alike."""
    typed = mixer()
    for name in ("in_proj", "out_proj"):
        maps = [copy.deepcopy(getattr(typed, name)) for _ in range(2)]
        setattr(typed, name, Typed(*maps if alike else (loud(each, seed=5 + number) for number, each in enumerate(maps))))
    return typed


def test_modalities_with_the_same_weights_are_no_modalities():
    typed = typed_mixer(alike=True)
    hidden, modality = randn(2, 9, WIDTH), torch.randint(2, (2, 9), generator=generator(1))
    mixed, _ = typed(hidden, sequence=sequence_of(hidden, modality=modality))
    torch.testing.assert_close(mixed, mixer()(hidden)[0], **CLOSE)


@torch.inference_mode()
def test_modalities_are_told_apart_step_by_step_as_at_once():
    typed = typed_mixer(alike=False)
    hidden, modality = randn(2, 9, WIDTH), torch.randint(2, (2, 9), generator=generator(1))
    sequence = sequence_of(hidden, modality=modality)
    whole, _ = typed(hidden, sequence=sequence)
    state, steps = None, []
    for at in range(9):
        mixed, state = typed(hidden[:, at : at + 1], state, sequence=sequence.slice(at, at + 1))
        steps.append(mixed)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, **CLOSE)
    assert not torch.allclose(whole, typed(hidden, sequence=sequence_of(hidden, modality=1 - modality))[0], atol=0.1)


def test_a_modality_that_is_absent_gets_no_gradient():
    typed = typed_mixer(alike=False)
    hidden = randn(2, 9, WIDTH)
    typed(hidden, sequence=sequence_of(hidden))[0].square().sum().backward()
    for projection in (typed.in_proj, typed.out_proj):
        assert projection.maps[0].weight.grad.any()
        assert not projection.maps[1].weight.grad.any()


# --- the layer, and decoders made of it -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def pair(request, tmp_path_factory):
    """A model of transformers, its folder, and the decoder that is read from there."""
    folder, model = tmp_path_factory.mktemp("mamba2"), reference(tie_word_embeddings=request.param)
    model.save_pretrained(folder)
    return model, folder, load_decoder(folder)


def hybrid(recurrent: bool = True) -> Decoder:
    """Attention and Mamba-2 by turns, or attention alone."""
    attention = AttentionConfig(4, 2, 6, 6**-0.5, Rotary(6, 1e4))
    layers = (*[CONFIG] * recurrent, LayerConfig(attention, FeedForwardConfig(32))) * 2
    config = DecoderConfig(
        "hybrid", vocab_size=61, width=WIDTH, layers=layers, norm=NormConfig(1e-5), max_position=99, tied=True
    )
    return loud(Decoder(config))


def random_ids(batch: int, length: int) -> torch.Tensor:
    return torch.randint(61, (batch, length), generator=generator(4))


@torch.inference_mode()
def test_logits_are_those_of_transformers_at_once_and_step_by_step(pair):
    model, _, decoder = pair
    ids, cache, kept = random_ids(2, 30), decoder.new_cache(30, 2), DynamicCache(config=model.config)
    expected = model(ids).logits
    assert expected.abs().max() > 1
    torch.testing.assert_close(decoder(ids), expected, atol=1e-5, rtol=1e-5)
    for start, end in ((0, 21), *pairwise(range(21, 31))):
        theirs = model(ids[:, start:end], cache=kept, use_cache=True).logits
        torch.testing.assert_close(decoder(ids[:, start:end], cache), theirs, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_saved_again_it_is_read_by_transformers_and_here(pair, tmp_path):
    model, _, decoder = pair
    save_decoder(decoder, tmp_path)
    again = Mamba2ForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    ids = random_ids(1, 12)
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert torch.equal(load_decoder(tmp_path)(ids), decoder(ids))


@torch.inference_mode()
def test_bfloat16_is_right_within_its_rounding(pair):
    model, folder, decoder = pair
    ids = random_ids(1, 30)
    expected = decoder(ids)
    rounded = load_decoder(folder, dtype=torch.bfloat16)(ids)
    assert rounded.dtype == torch.bfloat16
    theirs = copy.deepcopy(model).to(torch.bfloat16)(ids).logits
    # most of it is the rounding of the weights, which is the same
    assert (rounded.float() - expected).norm() <= 1.05 * (theirs.float() - expected).norm()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n_groups": 4}, "its layers are not Mamba-2's"),
        ({"hidden_act": "gelu"}, "its layers are not Mamba-2's"),
        ({"time_step_limit": [0.0]}, "time_step_limit"),
        ({"time_step_limit": [0.5, 0.1]}, "time_step_limit"),
        ({"time_step_limit": [0.0, {"__float__": "no"}]}, "time_step_limit"),
        ({"state_size": 0}, "state_size"),
        ({"head_dim": 4}, "should be"),
    ],
)
def test_configurations_that_cannot_be_are_refused(pair, tmp_path, changes, why):
    _, folder, _ = pair
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads((folder / "config.json").read_text()) | changes))
    with pytest.raises(Refusal, match=why):
        load_decoder(folder, config)


@settings(max_examples=15)
@given(cuts=st.sets(st.integers(1, 11)))
@torch.inference_mode()
def test_beside_attention_any_way_of_cutting_gives_the_logits_of_one_pass(cuts):
    decoder, ids = hybrid(), random_ids(2, 12)
    cache = decoder.new_cache(12, 2)
    pieces = [decoder(ids[:, start:end], cache) for start, end in pairwise([0, *sorted(cuts), 12])]
    torch.testing.assert_close(torch.cat(pieces, dim=1), decoder(ids), atol=5e-5, rtol=1e-5)


@torch.inference_mode()
def test_rows_of_other_lengths_go_on_as_if_alone_and_so_does_a_fork():
    decoder, ids = hybrid(), random_ids(2, 12)
    cache = decoder.new_cache(16, 2)
    valid = torch.ones(2, 8, dtype=torch.bool)
    valid[1, :3] = False
    logits = decoder(ids[:, :8], cache, valid=valid)
    torch.testing.assert_close(logits[1:, 3:], decoder(ids[1:, 3:8]), **CLOSE)
    fork = cache.fork()
    cache.select(torch.tensor([1, 0, 1]))
    further = decoder(ids[[1, 0, 1], 8:], cache)
    torch.testing.assert_close(further[0], decoder(ids[1:, 3:])[0, 5:], atol=5e-5, rtol=1e-5)
    torch.testing.assert_close(further[1], decoder(ids[:1])[0, 8:], atol=5e-5, rtol=1e-5)
    torch.testing.assert_close(further[2], further[0], **CLOSE)
    torch.testing.assert_close(decoder(ids[:, 8:], fork), further[[1, 0]], **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize("pattern", [FULL, blocks(Modality.IMAGE), prefix(6), mutual(Modality.IMAGE)])
def test_a_pattern_that_looks_ahead_is_refused_before_anything_is_read(pattern):
    decoder, attention = hybrid(), hybrid(recurrent=False)
    sequence = replace(
        decoder.sequence(random_ids(1, 9)),
        modality=torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0, 0]]),
        source=torch.tensor([[-1, -1, 0, 0, 0, 0, 0, -1, -1]]),
    )
    cache = decoder.new_cache(9)
    for remembered in (None, cache):
        with pytest.raises(Refusal, match=f"“{pattern.name}” lets tokens see later ones, and layers with a recurrent state"):
            decoder(sequence, remembered, pattern=pattern)
    assert cache.length == 0 and cache.state(0) is None
    assert not torch.equal(attention(sequence, pattern=pattern), attention(sequence))  # where all is attention, it is not
    tail = sequence.slice(7)  # nothing here sees what is later
    if pattern.name != "full" and "prefix" not in pattern.name:
        assert torch.equal(decoder(tail, pattern=pattern), decoder(tail))


@torch.inference_mode()
def test_what_is_not_to_be_remembered_is_read_and_forgotten():
    layer, hidden = loud(Mamba2Layer(WIDTH, CONFIG, NormConfig(1e-5), 0)), randn(1, 8, WIDTH)
    cache, numbers = KVCache([(0, 0)], capacity=8), torch.arange(8)[None]
    stays = torch.ones(1, 8, dtype=torch.bool)
    stays[0, 3:5] = False
    read = layer(hidden, Reading(sequence_of(hidden), numbers, cache, commit=stays))
    plain = layer(hidden, Reading(sequence_of(hidden), numbers))
    assert torch.equal(read, plain)
    _, expected = layer.mixer(layer.norm(hidden[:, [0, 1, 2, 5, 6, 7]]))
    torch.testing.assert_close(cache.state(0).ssm, expected.ssm, **CLOSE)
    torch.testing.assert_close(cache.state(0).conv, expected.conv, **CLOSE)


@torch.inference_mode()
def test_states_between_layers_are_wide_where_asked_for():
    hidden = randn(1, 4, WIDTH).bfloat16()
    reading = Reading(sequence_of(hidden), torch.zeros(1, 4, dtype=torch.int64))
    for wide, dtype in ((False, torch.bfloat16), (True, torch.float32)):
        layer = loud(Mamba2Layer(WIDTH, replace(CONFIG, wide_residual=wide), NormConfig(1e-5), 0)).bfloat16()
        out = layer(hidden, reading)
        assert out.dtype == dtype
        assert layer(out, reading).dtype == dtype
