"""Every family gives transformers' numbers: with pictures and without, with videos, step by step, and under older names."""

import json
import re

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from serval.conversation.messages import Media, Message, Text
from serval.conversation.segments import TextSegment
from serval.conversation.sequence import Modality
from serval.language.vision_language.model import VisionLanguageModel
from serval.media.frame import Frame

from .conftest import asked, picture
from .models import CONFIGS

SHOWN = {"none": (), "one": ((40, 70),), "two": ((90, 31), (28, 57)), "one large": ((300, 217),)}


def read_by_transformers(tiny, pictures, words="What is in it?"):
    """The inputs that transformers' own processor makes of the same conversation."""
    parts = [{"type": "image", "image": Image.fromarray(each)} for each in pictures]
    conversation = [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]
    return tiny.processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def close(found, expected):
    assert expected.abs().max() > 0.5  # not a comparison of zeros
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("shown", list(SHOWN))
def test_a_conversation_gives_the_tokens_and_logits_of_transformers(tiny, shown):
    pictures = [picture(*size) for size in SHOWN[shown]]
    inputs = read_by_transformers(tiny, pictures)
    sequence = tiny.model.sequence(*asked(*pictures, words="What is in it?"))
    ids = inputs["input_ids"]
    media = ids == 3
    assert torch.equal(sequence.modality, torch.where(media, Modality.IMAGE, Modality.TEXT))
    assert torch.equal(sequence.embeds[~media], tiny.model.decoder.embed(ids)[~media])
    assert set(sequence.source[media].tolist()) == set(range(len(pictures))) and (sequence.source[~media] == -1).all()
    close(tiny.model(sequence), tiny.reference(**inputs).logits)


@torch.inference_mode()
def test_step_by_step_after_pictures_is_as_in_one_pass(tiny):
    pictures = [picture(40, 70), picture(28, 57)]
    inputs = read_by_transformers(tiny, pictures)
    following = torch.randint(40, 300, (1, 5), generator=torch.Generator().manual_seed(1))
    sequence = tiny.model.sequence(*asked(*pictures, words="What is in it?"))
    cache = tiny.model.new_cache(sequence.length + 5)
    found = [tiny.model(sequence.slice(0, 9), cache), tiny.model(sequence.slice(9), cache)]
    found += [tiny.model(following[:, [step]], cache) for step in range(5)]
    longer = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask", "mm_token_type_ids")}
    if "mm_token_type_ids" in inputs:
        longer["mm_token_type_ids"] = torch.cat((inputs["mm_token_type_ids"], torch.zeros_like(following)), dim=1)
    longer["input_ids"] = torch.cat((inputs["input_ids"], following), dim=1)
    close(torch.cat(found, dim=1), tiny.reference(**longer).logits)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("frames", [1, 3, 4])
def test_a_video_gives_the_logits_of_transformers(tiny_of, name, frames):
    tiny, apart = tiny_of(name), 0.5
    shown = [Frame.from_rgb(picture(60, 90, seed=index), time=10 + index * apart) for index in range(frames)]
    part = Media(kind="video", attached=0)
    messages = [Message(role="user", parts=(part, Text(text="What happens?")))]
    sequence = tiny.model.sequence(messages, {part: shown})
    prepared = tiny.model.prepare(shown)
    count = prepared.plan.tokens
    media = sequence.modality[0] == Modality.VIDEO
    assert int(media.sum()) == count
    written = f"<|im_start|>user\n{'<video>' * count}What happens?<|im_end|>\n<|im_start|>assistant\n"
    if name.startswith("qwen"):
        written = written.replace("<video>", "<|vision_start|><video>", 1).replace("<video>W", "<video><|vision_end|>W")
    ids = torch.tensor([tiny.processor.tokenizer(written)["input_ids"]])
    inputs = {"input_ids": ids, "pixel_values_videos": prepared.pixels[0]}
    if name == "llava_onevision":
        inputs["pixel_values_videos"] = prepared.pixels[0][None]
    else:
        inputs |= {"video_grid_thw": torch.tensor([prepared.plan.grid]), "mm_token_type_ids": (ids == 4).int() * 2}
    if name == "qwen2_5_vl":
        inputs["second_per_grid_ts"] = torch.tensor([2 * apart])
    close(tiny.model(sequence), tiny.reference(**inputs).logits)
    times = sequence.time[0, media]
    groups = prepared.plan.grid[0]
    assert times[0] == 10 and times[-1] == shown[-(-len(shown) // groups) * (groups - 1)].time
    assert bool((times.diff() >= 0).all()) and bool(torch.isnan(sequence.time[0, ~media]).all())


@torch.inference_mode()
def test_after_a_long_video_text_goes_on_beyond_its_last_moment(tiny_of):
    tiny, part = tiny_of("qwen2_5_vl"), Media(kind="video", attached=0)
    shown = [Frame.from_rgb(picture(20, 30, seed=index), time=float(10 * index)) for index in range(6)]
    sequence = tiny.model.sequence([Message(role="user", parts=(part, Text(text="So?")))], {part: shown})
    media = sequence.modality[0] == Modality.VIDEO
    inside = sequence.position[0, media]
    # three pairs of frames, twenty seconds apart, at four positions a second
    assert (inside[:, 0] - inside[0, 0]).unique().tolist() == [0, 80, 160]
    after = sequence.position[0, int(media.nonzero()[-1]) + 1]
    assert after.tolist() == [float(inside.max()) + 1] * 3


@torch.inference_mode()
def test_times_and_labels_of_a_conversation_with_an_answer(tiny):
    part = Media(kind="image", attached=0, time=4.5)
    messages = [Message(role="user", parts=(part, Text(text="What?"))), Message.of("assistant", "Nothing.")]
    sequence = tiny.model.sequence(messages, {part: picture(30, 50)}, reply=False, learn=True)
    media = sequence.modality == Modality.IMAGE
    assert (sequence.time[media] == 4.5).all() and torch.isnan(sequence.time[~media]).all()
    taught = sequence.labels[sequence.labels >= 0].tolist()
    assert tiny.model.speech.tokenizer.decode(taught).strip() == "Nothing."


OLDER = {  # what transformers 5 writes → how it was published, or how 4.52 wrote it
    "llava": [
        {r"^language_model\.": "model.language_model.", r"^model\.language_model\.model\.": "model.language_model.",
         r"^model\.language_model\.lm_head\.": "lm_head.", r"^(vision_tower|multi_modal|image_newline)": r"model.\1"},
        {r"^vision_tower\.": "vision_tower.vision_model."},
    ],
    "qwen": [{r"^model\.": "model.language_model.", r"^visual\.": "model.visual."}],
}  # fmt: skip
OLDER |= {"llava_next": OLDER["llava"], "llava_onevision": OLDER["llava"], "internvl": OLDER["llava"][:1]}
OLDER |= {"qwen2_vl": OLDER["qwen"], "qwen2_5_vl": OLDER["qwen"]}


@torch.inference_mode()
@pytest.mark.parametrize(("name", "version"), [(n, v) for n in CONFIGS for v in range(len(OLDER.get(n, ())))])
def test_older_names_are_read(tiny_of, tmp_path, name, version):
    tiny = tiny_of(name)
    state = load_file(tiny.folder / "model.safetensors")
    renamed = {}
    for key, value in state.items():
        for pattern, put in OLDER[name][version].items():
            key = re.sub(pattern, put, key)
        renamed[key] = value
    assert renamed.keys() != state.keys()
    save_file(renamed, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((tiny.folder / "config.json").read_bytes())
    again = VisionLanguageModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in tiny.model.state_dict().items())


def test_shards_are_read(tiny, tmp_path):
    tiny.reference.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]) > 1
    again = VisionLanguageModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in tiny.model.state_dict().items())
    assert again.speech is None


@torch.inference_mode()
def test_bfloat16_is_close(tiny):
    rounded = VisionLanguageModel.from_pretrained(tiny.folder, dtype=torch.bfloat16)
    assert {each.dtype for each in rounded.parameters()} == {torch.bfloat16}
    conversation = asked(picture(40, 70))
    found, expected = rounded(rounded.sequence(*conversation)).float(), tiny.model(tiny.model.sequence(*conversation))
    assert (found - expected).pow(2).mean() < 0.01 * expected.pow(2).mean()


def test_gradients_reach_connector_and_tower(tiny):
    model = VisionLanguageModel.from_pretrained(tiny.folder).requires_grad_(True)
    model(model.sequence(*asked(picture(40, 70)))).square().mean().backward()
    for part in (model.vision, model.decoder, *([model.connector] if list(model.connector.parameters()) else [])):
        grads = [each.grad for each in part.parameters() if each.grad is not None]
        assert grads and any(float(each.abs().max()) > 0 for each in grads)


@torch.inference_mode()
def test_text_after_pictures_may_be_given_as_segments(tiny):
    segments = tiny.model.segments(*asked(picture(40, 70)))
    whole = tiny.model.joined([*segments, TextSegment([50, 60, 70])])
    cache = tiny.model.new_cache(whole.length)
    tiny.model(tiny.model.joined(segments), cache)
    close(tiny.model(torch.tensor([[50, 60, 70]]), cache), tiny.model(whole)[:, -3:])
