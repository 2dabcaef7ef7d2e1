"""A toy stack whose layers call their parts as a decoder does: LlamaFusion's weights by modality, and MM-LoRA's branches."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from serval.adapters.adapter_bank import AdapterBank
from serval.adapters.by_modality import ByModality
from serval.adapters.replace import replace_modules
from serval.adapters.typed_linear import TypedLinear
from serval.adapters.typed_module import TypedModule
from serval.conversation.sequence import Modality, MultimodalSequence
from serval.language.reading import through

T, I, A = Modality.TEXT, Modality.IMAGE, Modality.AUDIO  # noqa: E741
WIDTH = 8


def sequence(modality):
    modality = torch.tensor(modality)
    batch, length = modality.shape
    position = torch.arange(length).expand(batch, length)
    fields = (position - position - 1, position.double(), position.float(), position - position - 100, modality >= 0)
    return MultimodalSequence(torch.randn(batch, length, WIDTH), modality, *fields)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.feed_norm = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 12), nn.SiLU(), nn.Linear(12, WIDTH))

    def forward(self, hidden, sequence, mask):
        normed = through(self.norm, hidden, sequence)
        q, k, v = (through(part, normed, sequence) for part in (self.q, self.k, self.v))
        hidden = hidden + through(self.o, functional.scaled_dot_product_attention(q, k, v, mask), sequence)
        return hidden + through(self.mlp, through(self.feed_norm, hidden, sequence), sequence)


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.norm = nn.RMSNorm(WIDTH)
        for weight in self.parameters():
            nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.4)

    def forward(self, sequence):
        order = torch.arange(sequence.length)
        image = sequence.modality == I
        mask = (order[:, None] >= order) | (image[:, :, None] & image[:, None])  # one image: it sees all of itself
        hidden = sequence.embeds
        for layer in self.layers:
            hidden = layer(hidden, sequence, mask)
        return through(self.norm, hidden, sequence)


def fused(base):
    """LlamaFusion's surgery: every part with weights of its own for images, which start as copies; text's are frozen."""
    stack = deepcopy(base).requires_grad_(False)
    parts = r"(layers\.\d+\.)?(norm|feed_norm|q|k|v|o|mlp)"
    replace_modules(
        stack, parts, lambda part: ByModality(TypedModule([part, deepcopy(part).requires_grad_()]), {I: 1}, otherwise=0)
    )
    return stack


def trained(stack):
    """Image weights after some learning, told from text's by being trainable."""
    with torch.no_grad():
        for weight in stack.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.3)
    return stack


TEXT = [[T, T, T, T, T, T]]
MIXED = [[T, I, I, I, T, T], [T, T, I, I, I, T]]


def test_text_alone_is_the_base_bit_for_bit_before_and_after_images_are_learned():
    base, text = Stack(), sequence(TEXT)
    expected = base(text)
    stack = fused(base)
    assert torch.equal(stack(text), expected)
    assert torch.equal(trained(stack)(text), expected)


def test_right_after_the_copy_either_set_and_any_mixture_is_the_base():
    base, mixed = Stack(), sequence(MIXED)
    stack, expected = fused(base), base(mixed)
    torch.testing.assert_close(stack(mixed), expected)
    for branch in (0, 1):
        for part in stack.modules():
            if isinstance(part, ByModality):
                part.branches, part.otherwise = {}, branch
        assert torch.equal(stack(mixed), expected)
    assert not torch.allclose(trained(stack)(mixed), expected, atol=1e-2)


def test_taking_tokens_apart_and_together_again_is_a_loop_over_tokens():
    stack, mixed = trained(fused(Stack())), sequence(MIXED)
    part, hidden = stack.layers[0].mlp, torch.randn(2, 6, WIDTH)
    loop = torch.stack(
        [
            torch.stack([part.part.parts[int(kind == I)](state) for state, kind in zip(*row, strict=True)])
            for row in zip(hidden, mixed.modality, strict=True)
        ]
    )
    torch.testing.assert_close(part(hidden, mixed), loop, rtol=1e-6, atol=1e-6)


def test_frozen_text_weights_get_no_gradient_and_image_weights_learn_from_text_that_follows():
    stack = fused(Stack())
    for kinds, learns in ([[T, I, I, T]], True), ([[T, T, I, I]], False):
        stack.zero_grad()
        mixed = sequence(kinds)
        out = stack(mixed)[mixed.modality == T].square().sum()
        if out.requires_grad:
            out.backward()
        grads = {name: weight.grad for name, weight in stack.named_parameters()}
        assert all(grad is None for name, grad in grads.items() if ".parts.0." in name)
        assert any(grad is not None and grad.any() for grad in grads.values()) == learns


def test_mm_lora_of_visual_tokens_leaves_text_positions_of_a_map_alone_bit_for_bit():
    linear, mixed = nn.Linear(WIDTH, 5), sequence(MIXED)
    part = ByModality(TypedLinear(linear, rank=(6, 2), alpha=(12.0, 4.0)), {I: 1}, otherwise=0)
    with torch.no_grad():
        part.part.up[:, 6:].normal_()  # images' alone
    got, expected = part(mixed.embeds, mixed), linear(mixed.embeds)
    text = mixed.modality == T
    assert torch.equal(got[text], expected[text])
    assert (got[~text] != expected[~text]).any(-1).all()


def test_modalities_without_a_branch_may_take_the_bare_layer():
    """GeoPixel's partial LoRA: images alone, everything else on the base weight."""
    linear, mixed = nn.Linear(WIDTH, WIDTH), sequence([[T, I, A, I]])
    lora = TypedLinear(linear, rank=2)
    nn.init.normal_(lora.up)
    got = ByModality(lora, {I: 0}, otherwise=-1)(mixed.embeds, mixed)
    torch.testing.assert_close(got[0, [1, 3]], lora(mixed.embeds)[0, [1, 3]])
    assert torch.equal(got[0, [0, 2]], linear(mixed.embeds)[0, [0, 2]])
    bank = AdapterBank(linear, WIDTH, adapters=2)
    nn.init.normal_(bank.up)
    torch.testing.assert_close(
        ByModality(bank, {I: 1, A: 0}, otherwise=-1)(mixed.embeds, mixed), bank(mixed.embeds, torch.tensor([[-1, 1, 0, 1]]))
    )


def test_ids_come_from_the_sequence():
    part = ByModality(TypedModule([nn.Identity()]), {I: 2, A: 1}, otherwise=5)
    assert part.ids(sequence([[T, I, A, Modality.VIDEO]])).tolist() == [[5, 2, 1, 5]]
    with pytest.raises(ValueError, match="from 1 to 5"):
        part(torch.randn(1, 4, WIDTH), sequence([[T, I, A, Modality.VIDEO]]))
