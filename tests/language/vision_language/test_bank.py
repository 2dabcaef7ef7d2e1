"""Several towers, their connectors and a router before a decoder: one module, saved and read again, that streams and chats."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from serval.conversation.messages import Media, Message, Text
from serval.encoders.open_tower import new_tower
from serval.encoders.vision_tower import VisionTower
from serval.language.vision_language.bank import Part, Sight
from serval.language.vision_language.chat import open_seeing_model
from serval.language.vision_language.model import VisionLanguageModel
from serval.language.vision_language.session import FrameSession
from serval.media.frame import Frame
from serval.refusal import Refusal
from serval.training.objectives.next_token import NextToken

from .conftest import asked, picture
from .models import VISION

WIDTH = 32
MEAN = Sight((Part("projector", {"width_in": 24, "width_out": WIDTH}),), Part("cells", {"grid": [2, 2]}))
LOOKING = Sight(
    (
        Part("deformable_reader", {"width": 24, "grid": [2, 2], "layers": 1, "heads": 4}),
        Part("projector", {"width_in": 24, "width_out": WIDTH, "depth": 1}),
    ),
    Part("map"),
)
LLAVA = Sight((Part("projector", {"width_in": 24, "width_out": WIDTH}),), depth=-2)  # what LLaVA does with its tower


def router(guidance: str, positions: int | None = None) -> Part:
    return Part("soft_router", {"width": WIDTH, "sources": 2, "guidance": guidance, "positions": positions})


def enlarge(module: nn.Module) -> None:
    torch.manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.15 if parameter.ndim > 1 else 0.5)


@pytest.fixture(scope="module")
def llava(tiny_of):
    return tiny_of("llava")


@pytest.fixture(scope="module")
def towers(llava):
    other = new_tower({**VISION, "model_type": "siglip_vision_model", "vision_use_head": False, "patch_size": 14})
    enlarge(other)
    return [VisionTower(llava.model.vision.model, llava.model.pictures.input), other]


def compose(llava, towers, sights, mixer, tokens=4) -> VisionLanguageModel:
    model = VisionLanguageModel.composed(towers, sights, mixer, llava.model.decoder, tokens=tokens, spoken=llava.folder).eval()
    enlarge(model.vision.bridges)
    if isinstance(model.vision.mixer, nn.Module):
        enlarge(model.vision.mixer)
    return model


@pytest.fixture(scope="module")
def model(llava, towers):
    return compose(llava, towers, [MEAN, LOOKING], router("cls", positions=4))


@torch.inference_mode()
@pytest.mark.parametrize("mixer", ["one", "add", "router"])
def test_a_bank_that_listens_to_one_tower_is_the_model_of_that_tower_bit_for_bit(llava, towers, mixer):
    if mixer == "router":  # the other tower's four patches are sampled to as many
        other = Sight((Part("deformable_reader", {"width": 24, "grid": [4, 4], "layers": 1}), *LLAVA.connector), Part("map"))
        model = compose(llava, towers, [LLAVA, other], router("learned"), tokens=16)
        model.vision.mixer.static.copy_(torch.tensor([1e4, -1e4]))
    else:
        model = compose(llava, towers[:1], [LLAVA], "add" if mixer == "add" else Part("soft_router", ONE), tokens=16)
    model.vision.bridges[0].steps[0].load_state_dict(llava.model.connector.state_dict())
    conversation = asked(picture(40, 70), picture(28, 57))
    found, expected = (each(each.sequence(*conversation)) for each in (model, llava.model))
    assert expected.std() > 0.2 and torch.equal(found, expected)


ONE = {"width": WIDTH, "sources": 1, "guidance": "learned"}


@torch.inference_mode()
def test_both_towers_and_the_router_matter(model, llava, towers):
    conversation = asked(picture(40, 70))
    made = model.look(model.prepare(picture(40, 70)))
    assert made.shape == (4, WIDTH) and made.std() > 0.05
    sources = model.vision.tokens(model.vision.encode(model.vision.prepare([picture(40, 70)])))
    weights = model.vision.mixer.weights(sources)
    torch.testing.assert_close(made, (sources[0] * weights[..., :1] + sources[1] * weights[..., 1:])[0])
    assert model.sequence(*conversation).length == llava.model.sequence(*conversation).length - 16 + 4


@torch.inference_mode()
@pytest.mark.parametrize("mixer", [router("cls", 4), router("learned"), "add", "interleave", "behind"])
def test_it_is_saved_and_read_again_to_the_same_logits(llava, towers, mixer, tmp_path):
    model = compose(llava, towers, [MEAN, LOOKING], mixer, tokens=4 if isinstance(mixer, Part) or mixer == "add" else 8)
    model.save_pretrained(tmp_path)
    again = VisionLanguageModel.from_pretrained(tmp_path)
    conversation = asked(picture(40, 70), picture(33, 20))
    expected = model(model.sequence(*conversation))
    assert expected.std() > 0.2
    torch.testing.assert_close(again(again.sequence(*conversation)), expected)  # where numbers lie in memory shows in rounding
    written, read = model.state_dict(), again.state_dict()
    assert written.keys() == read.keys() and all(torch.equal(written[name], value) for name, value in read.items())
    assert "library_name: serval" in (tmp_path / "README.md").read_text()
    assert not any(each.requires_grad for each in again.parameters())
    again.save_pretrained(tmp_path / "twice")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()
    twice = VisionLanguageModel.from_pretrained(tmp_path / "twice")
    assert torch.equal(twice(twice.sequence(*conversation)), again(again.sequence(*conversation)))


def test_an_instruction_guides_the_router(llava, towers):
    model = compose(llava, towers, [MEAN, LOOKING], Part("soft_router", {"width": 5, "sources": 2}))
    conversation, conditions = asked(picture(40, 70)), torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0))
    one, other = (model.sequence(*conversation, condition=each * 5).embeds for each in conditions)
    assert not torch.allclose(one, other)
    with pytest.raises(ValueError, match="A condition is given just where an instruction guides"):
        model.sequence(*conversation)


@torch.inference_mode()
def test_frames_stream_through_the_bank(model):
    frames = [Frame.from_rgb(picture(40, 56, seed), index=seed, time=float(seed)) for seed in range(3)]
    session = FrameSession(model, 2000)
    for frame in frames:
        session.see(frame)
    shown: dict[Media, np.ndarray] = {Media(kind="image", attached=number): each.rgb for number, each in enumerate(frames)}
    at_once = model.sequence([Message(role="user", parts=(*shown, Text(text="What was it?")))], shown)
    torch.testing.assert_close(session.logits("What was it?"), model(at_once, last=True)[0, 0], atol=5e-4, rtol=1e-3)
    one_by_one = torch.cat([model.look(model.prepare(each.rgb)) for each in frames])
    torch.testing.assert_close(model.look(model.prepare(frames)), one_by_one)
    assert model.prepare(frames).plan.tokens == 12


def test_it_chats(model, tmp_path):
    model.save_pretrained(tmp_path)
    seeing, pieces = open_seeing_model(tmp_path), []
    said = seeing.reply(*asked(picture(40, 70)), max_tokens=6, on_text=pieces.append)
    assert said == "".join(pieces) and seeing.model_id.startswith(tmp_path.name)


def test_connectors_and_router_learn_what_the_assistant_says_and_towers_do_not(llava, towers):
    model = compose(llava, towers, [MEAN, LOOKING], router("cls"))
    model.vision.train()
    (question,), shown = asked(picture(40, 70))
    said = [question, Message.of("assistant", "A cat on a mat.")]
    objective = NextToken(sequence=lambda model, batch: model.sequence(*batch, reply=False, learn=True))
    loss = objective(model, (said, shown))
    loss.mean.backward()
    assert loss.weight > 5 and not any(tower.training for tower in model.vision.towers)
    assert all(each.grad.abs().sum() > 0 for each in (*model.vision.bridges.parameters(), *model.vision.mixer.parameters()))


def test_what_was_not_planned_is_a_mistake(llava, towers):
    model = compose(llava, towers, [MEAN, LOOKING], "behind", tokens=7)
    with pytest.raises(ValueError, match="make 8 tokens of a picture"):
        model.look(model.prepare(picture(40, 70)))


def _set(content, path, value):
    *within, last = path
    for each in within:
        content = content[each]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (["sights"], {}, "sights are not a list"),
        (["sights"], [], "0 towers"),
        (["mixer"], "vote", "mixer is not known"),
        (["mixer", "part"], "exec", "its part “exec” is not known here"),
        (["tokens"], -1, "tokens is not a number"),
        (["sights", 0, "look", "part"], "__class__", "is not known here"),
        (["sights", 0, "look"], [1], "look is not an object"),
        (["sights", 0, "depth"], "deep", "depth is not a number"),
        (["sights", 0, "connector"], ["projector"], "connector is not a list of parts"),
        (["sights", 0, "connector", 0, "width_out"], 10**12, "width_out of its projector is not a number up to"),
        (["sights", 1, "connector", 0, "layers"], 10**6, "layers of its deformable_reader is not a number up to 1,024"),
        (["sights", 0, "connector", 0, "surprise"], 3, "no model can be made of it"),
        (["sights", 0, "connector", 0, "width_in"], 25, "should be"),
        (["sights", 0, "tower", "model_type"], "yolo", "architecture 'yolo' is not known"),
        (["sights", 0, "tower", "model_type"], "whisper", "no model can be made|not known|is not"),
        (["sights", 0, "tower", "num_hidden_layers"], 10**9, "num_hidden_layers"),
        (["sights", 0, "prepared", "image_mean"], "red", "image_mean"),
        (["text_config", "hidden_size"], 64, "should be"),
        (["text_config", "model_type"], "nothing", "not a configuration"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(model, tmp_path, path, value, why):
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    _set(content, path, value)
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(Refusal, match=why) as found:
        VisionLanguageModel.from_pretrained(tmp_path)
    assert len(str(found.value).splitlines()) == 1
