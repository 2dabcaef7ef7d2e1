"""The contract of the room: what is added changes nothing before it has learned, not by one bit.

Weights and inputs are quarters of whole numbers, so that no sum is rounded and none depends on the order in which a matrix
product adds its terms: one bit of difference would be the part's own.
"""

import importlib
import pkgutil
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import serval.adapters
from serval.adapters.adapter_bank import AdapterBank
from serval.adapters.by_modality import ByModality
from serval.adapters.decomposed_linear import DecomposedLinear
from serval.adapters.expert_feed_forward import ExpertFeedForward
from serval.adapters.modulate import Modulate
from serval.adapters.peft_format import add_adapters
from serval.adapters.replace import replace_modules
from serval.adapters.typed_linear import TypedLinear
from serval.adapters.typed_module import TypedModule
from serval.conversation.sequence import Modality, MultimodalSequence

BATCH, LENGTH, WIDTH, CONDITION = 3, 7, 8, 5
TOKENS = torch.tensor([[0, 1, 2, 0, 2, 1, 0]])
SAMPLES = torch.tensor([[2], [0], [1]])
SHARES = torch.tensor([0.5, 0.0, 2.0])
BY_SAMPLE = torch.linspace(-1, 1, BATCH * CONDITION).view(BATCH, CONDITION)
BY_TOKEN = torch.linspace(-1, 1, BATCH * LENGTH * CONDITION).view(BATCH, LENGTH, CONDITION)
SEQUENCE = MultimodalSequence(
    torch.zeros(BATCH, LENGTH, WIDTH),
    TOKENS.expand(BATCH, LENGTH).contiguous(),
    torch.zeros(BATCH, LENGTH, dtype=torch.long),
    torch.zeros(BATCH, LENGTH, dtype=torch.float64),
    torch.zeros(BATCH, LENGTH),
    torch.zeros(BATCH, LENGTH, dtype=torch.long),
    torch.ones(BATCH, LENGTH, dtype=torch.bool),
)
BRANCHES = {Modality.IMAGE: 1, Modality.VIDEO: 0}


def quarters(*shape: int) -> Tensor:
    return torch.randint(-8, 9, shape) / 4


def linear() -> nn.Linear:
    layer = nn.Linear(WIDTH, 6)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(quarters(*weight.shape))
    return layer


def feed_forward() -> nn.Module:
    layer = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, WIDTH))
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(quarters(*weight.shape))
    return layer


def copies(base: nn.Module) -> nn.Module:
    return TypedModule([base, deepcopy(base), deepcopy(base)])


Case = tuple[Callable[[], nn.Module], Callable[[nn.Module], nn.Module], dict[str, Tensor | MultimodalSequence]]
CASES: dict[str, Case] = {
    "lora": (linear, lambda base: TypedLinear(base, rank=2), {}),
    "typed linear, ids by token": (linear, lambda base: TypedLinear(base, rank=(2, 2, 2)), {"choice": TOKENS}),
    "typed linear, ids by sample": (linear, lambda base: TypedLinear(base, rank=(2, 2, 2)), {"choice": SAMPLES}),
    "typed linear, shares": (linear, lambda base: TypedLinear(base, rank=(2, 2, 2)), {"choice": SHARES}),
    "typed linear, gate": (linear, lambda base: TypedLinear(base, rank=(2, 2, 2), gated=True), {}),
    "dora": (linear, lambda base: DecomposedLinear(base, rank=2), {}),
    "adapter": (feed_forward, lambda base: AdapterBank(base, WIDTH, adapters=1), {}),
    "adapter bank, ids": (feed_forward, lambda base: AdapterBank(base, WIDTH, adapters=3), {"choice": TOKENS}),
    "adapter bank, shares": (feed_forward, lambda base: AdapterBank(base, WIDTH, adapters=3), {"choice": SHARES}),
    "adapter bank, gates": (
        feed_forward,
        lambda base: AdapterBank(base, WIDTH, adapters=3, gated=True),
        {"choice": TOKENS},
    ),
    "adapter bank, router": (
        feed_forward,
        lambda base: AdapterBank(base, WIDTH, adapters=3, condition=CONDITION),
        {"condition": BY_SAMPLE},
    ),
    "experts, first choice": (feed_forward, lambda base: ExpertFeedForward(base, WIDTH, experts=4, top_k=1), {}),
    "experts, two choices": (feed_forward, lambda base: ExpertFeedForward(base, WIDTH, experts=4), {}),
    "experts, all": (feed_forward, lambda base: ExpertFeedForward(base, WIDTH, experts=4, top_k=4), {}),
    "experts, room for all": (feed_forward, lambda base: ExpertFeedForward(base, WIDTH, experts=4, capacity=4.0), {}),
    "experts that choose, room for all": (
        feed_forward,
        lambda base: ExpertFeedForward(base, WIDTH, experts=3, top_k=None, capacity=3.0),
        {},
    ),
    "experts, in a decoder": (feed_forward, lambda base: ExpertFeedForward(base, WIDTH, experts=4), {"sequence": SEQUENCE}),
    "linear map by type": (linear, copies, {"ids": TOKENS}),
    "feed-forward by type": (feed_forward, copies, {"ids": SAMPLES}),
    "lora by modality": (
        linear,
        lambda base: ByModality(TypedLinear(base, rank=(3, 1)), BRANCHES, otherwise=-1),
        {"sequence": SEQUENCE},
    ),
    "feed-forward by modality": (feed_forward, lambda base: ByModality(copies(base), BRANCHES), {"sequence": SEQUENCE}),
    "scale and shift": (nn.Identity, lambda _: Modulate(WIDTH, CONDITION), {"condition": BY_SAMPLE}),
    "scale, shift and gate": (
        nn.Identity,
        lambda _: Modulate(WIDTH, CONDITION, feed_forward()),
        {"condition": BY_TOKEN},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_at_first_it_equals_its_base_bit_for_bit(name: str) -> None:
    make_base, adapt, arguments = CASES[name]
    base, hidden = make_base(), quarters(BATCH, LENGTH, WIDTH)
    expected = base(hidden)
    assert torch.equal(adapt(base)(hidden, **arguments), expected)


@pytest.mark.parametrize("name", CASES)
def test_and_after_a_step_of_learning_it_no_longer_does(name: str) -> None:
    make_base, adapt, arguments = CASES[name]
    base, hidden = make_base(), quarters(BATCH, LENGTH, WIDTH)
    expected, part = base(hidden).detach(), adapt(base)
    part(hidden, **arguments).square().sum().backward()
    with torch.no_grad():
        for weight in part.parameters():
            if weight.grad is not None:
                weight -= 0.01 * weight.grad
    assert not torch.allclose(part(hidden, **arguments), expected)


def by_modality(part: nn.Module) -> nn.Module:
    return ByModality(copies(part), BRANCHES)


WHOLE: dict[str, Callable[[nn.Module], object]] = {
    "lora": lambda decoder: add_adapters(decoder, rank=2),
    "dora": lambda decoder: add_adapters(decoder, rank=2, dora=True),
    "lora by modality": lambda decoder: replace_modules(
        decoder, r".*\.[qkvo]_proj", lambda base: ByModality(TypedLinear(base, rank=(3, 1)), BRANCHES)
    ),
    "every part by modality": lambda decoder: replace_modules(decoder, r"layers\.\d+\.(mlp|.*_proj|.*norm)", by_modality),
}


@pytest.mark.parametrize("name", WHOLE)
def test_at_first_a_whole_decoder_equals_its_base_bit_for_bit(name: str, decoder: nn.Module) -> None:
    ids = torch.arange(12).view(2, 6)
    expected = decoder(ids)
    WHOLE[name](decoder)
    assert torch.equal(decoder(ids), expected)


def test_at_first_experts_in_every_second_layer_of_a_decoder_are_its_feed_forward(decoder: nn.Module) -> None:
    """But for rounding: rows of a matrix product may depend on how many there are."""
    ids = torch.arange(12).view(2, 6)
    expected = decoder(ids)
    taken = replace_modules(decoder, r"layers\.\d*[02468]\.mlp", lambda mlp: ExpertFeedForward(mlp, 16, experts=4))
    assert taken == ["layers.0.mlp"]
    torch.testing.assert_close(decoder(ids), expected)
    add_adapters(decoder, rank=2)
    torch.testing.assert_close(decoder(ids), expected)


def test_every_part_of_the_room_is_held_to_it() -> None:
    """A module added to the room without a case here fails."""
    parts = set()
    for module in pkgutil.iter_modules(serval.adapters.__path__):
        found = vars(importlib.import_module(f"serval.adapters.{module.name}")).values()
        parts |= {
            kind
            for kind in found
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith("serval.adapters")
        }
    tested = {type(adapt(make_base())) for make_base, adapt, _ in CASES.values()}
    assert parts == tested
