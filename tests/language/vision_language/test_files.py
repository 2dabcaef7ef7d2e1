"""A model is written as transformers reads it, and whatever is wrong with a folder is told in one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from serval.language.vision_language import config as configs
from serval.language.vision_language import families, save
from serval.language.vision_language.config import config_of
from serval.language.vision_language.load import empty_model
from serval.language.vision_language.model import VisionLanguageModel
from serval.refusal import Refusal

from .conftest import asked, picture
from .test_logits import read_by_transformers

LLAVA_7B = {  # as published: what is usual for Llama and CLIP is left out of it
    "architectures": ["LlavaForConditionalGeneration"],
    "ignore_index": -100,
    "image_token_index": 32000,
    "model_type": "llava",
    "pad_token_id": 32001,
    "projector_hidden_act": "gelu",
    "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "vocab_size": 32064},
    "torch_dtype": "float16",
    "vision_config": {
        "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000,
    },
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}  # fmt: skip


QWEN2_VL_2B = {  # as published: the text half's sizes are not in a part of their own
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "eos_token_id": 151645, "image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652,
    "hidden_size": 1536, "intermediate_size": 8960, "max_position_embeddings": 32768, "max_window_layers": 28,
    "model_type": "qwen2_vl", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "rope_theta": 1000000.0, "sliding_window": 32768,
    "tie_word_embeddings": True, "use_sliding_window": False, "vocab_size": 151936,
    "vision_config": {
        "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "hidden_size": 1536,
        "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2,
    },
}  # fmt: skip
SMOLVLM_256M = {
    "image_token_id": 49190, "model_type": "idefics3", "scale_factor": 4, "tie_word_embeddings": False,
    "text_config": {
        "architectures": ["VLlama3ForCausalLM"], "head_dim": 64, "hidden_size": 576, "intermediate_size": 1536,
        "max_position_embeddings": 8192, "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "rms_norm_eps": 1e-05, "rope_theta": 100000, "vocab_size": 49280,
    },
    "vision_config": {
        "hidden_size": 768, "image_size": 512, "max_image_size": {"longest_edge": 512}, "model_type": "idefics3",
        "num_attention_heads": 12, "patch_size": 16, "size": {"longest_edge": 2048}, "use_base_siglip": False,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "prepared", "parameters", "tokens"),
    [
        (LLAVA_7B, {}, 7_063_427_072, 576),
        (QWEN2_VL_2B, {}, 2_208_985_600, 1196),
        (SMOLVLM_256M, {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}, 256_484_928, 13 * 64),
    ],
)
def test_a_full_size_model_has_its_parameters_without_taking_memory(content, prepared, parameters, tokens):
    model = empty_model(config_of(content, prepared))
    assert {each.device.type for each in model.parameters()} == {"meta"}
    assert sum(each.numel() for each in model.parameters()) == parameters
    assert model.pictures.plan(720, 1280).tokens == tokens


def test_both_lists_of_families_agree():
    assert set(configs.FAMILIES) == set(families.FAMILIES)


@torch.inference_mode()
def test_saved_again_it_is_read_by_transformers_and_here(tiny, tmp_path):
    tiny.model.save_pretrained(tmp_path)
    original, written = load_file(tiny.folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    tied = tiny.model.decoder.lm_head is None  # transformers may keep the copy
    assert {name for name in original if not (tied and "lm_head" in name)} == set(written)
    assert all(torch.equal(value, original[name]) for name, value in written.items())
    inputs = read_by_transformers(tiny, [picture(40, 70)])
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, local_files_only=True).eval()
    torch.testing.assert_close(again(**inputs).logits, tiny.reference(**inputs).logits, atol=0, rtol=0)
    ours = VisionLanguageModel.from_pretrained(tmp_path)
    conversation = asked(picture(40, 70))
    assert torch.equal(ours(ours.sequence(*conversation)), tiny.model(tiny.model.sequence(*conversation)))
    assert {path.name for path in tmp_path.iterdir()} >= {path.name for path in tiny.folder.iterdir()}


def test_a_large_model_is_written_in_shards(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(save, "_SHARD", 40_000)
    tiny.model.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1 and not (tmp_path / "model.safetensors").exists()
    again = VisionLanguageModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tiny.model.state_dict().items())


def test_a_half_sized_copy_says_its_type_and_the_card_keeps_licence_and_origin(tiny_of, tmp_path):
    folder = tmp_path / "with a card"
    shutil.copytree(tiny_of("smolvlm").folder, folder)
    card = "---\nlicense: apache-2.0\nbase_model: some/thing-2B\ntags:\n- x\n---\n# A model\nlicense: mit\n"
    (folder / "README.md").write_text(card)
    VisionLanguageModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path / "copy")
    written = (tmp_path / "copy" / "README.md").read_text()
    front = written.split("---")[1].strip().splitlines()
    assert front == [
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "license: apache-2.0",
        "base_model: some/thing-2B",
    ]
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["dtype"] == "bfloat16"
    assert {each.dtype for each in load_file(tmp_path / "copy" / "model.safetensors").values()} == {torch.bfloat16}


@pytest.fixture
def broken(tiny_of, tmp_path):
    """A folder to break, and how to change its configuration."""
    folder = tmp_path / "model"

    def make(name="llava", **changes):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny_of(name).folder, folder)
        content = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            *within, last = key.split("__")
            place = content
            for each in within:
                place = place[each]
            place[last] = value
        (folder / "config.json").write_text(json.dumps(content))
        return folder

    return make


def refused(folder, why):
    with pytest.raises(Refusal, match=why) as found:
        VisionLanguageModel.from_pretrained(folder)
    assert len(str(found.value).splitlines()) == 1 and len(str(found.value)) < 500


@pytest.mark.parametrize("name", ["llava_next", "idefics3", "internvl", "qwen2_vl"])
@pytest.mark.parametrize("part", ["vision", "vision_model", "visual", "connector", "projector", "embed_tokens", "newline"])
def test_missing_misshaped_and_extra_tensors_are_named(broken, name, part):
    folder = broken(name)
    state = load_file(folder / "model.safetensors")
    found = next((key for key in state if part in key), None)
    if found is None:
        return
    save_file({key: value for key, value in state.items() if key != found}, folder / "model.safetensors")
    refused(folder, f"{found} is missing")
    save_file(state | {found: torch.zeros(3, 2)}, folder / "model.safetensors")
    refused(folder, f"{found} is 3x2 and should be")
    for extra in ("surprise.weight", found.replace(part, f"{part}.surprise")):
        save_file(state | {extra: torch.zeros(3)}, folder / "model.safetensors")
        refused(folder, "surprise.* is not expected")


@torch.inference_mode()
def test_the_head_is_what_the_files_hold(broken, tmp_path):
    """As in transformers: published configurations are sometimes wrong about it."""
    inputs = {"input_ids": torch.arange(40, 60)[None]}
    for name, changes in (("llava", {"tie_word_embeddings": True}), ("internvl", {"tie_word_embeddings": False})):
        folder = broken(name, **changes, text_config__tie_word_embeddings=name == "internvl")
        model = VisionLanguageModel.from_pretrained(folder)
        assert (model.decoder.lm_head is None) == (name == "internvl")
        if name == "llava":
            theirs = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
            torch.testing.assert_close(model(inputs["input_ids"]), theirs(**inputs).logits, atol=1e-5, rtol=1e-5)
        model.save_pretrained(tmp_path / name)
        again = VisionLanguageModel.from_pretrained(tmp_path / name)
        assert torch.equal(again(inputs["input_ids"]), model(inputs["input_ids"]))
        theirs = AutoModelForImageTextToText.from_pretrained(tmp_path / name, local_files_only=True).eval()
        torch.testing.assert_close(model(inputs["input_ids"]), theirs(**inputs).logits, atol=1e-5, rtol=1e-5)


def test_code_pickles_and_cut_files_are_refused(broken):
    folder = broken(model_type="moondream", auto_map={"AutoModel": "run.Me"})
    (folder / "run.py").write_text("raise SystemExit('this was run')")
    refused(folder, "auto_map.*never run")
    refused(broken(model_type="paligemma"), "architecture “paligemma” is not known here")
    refused(broken(model_type="llava\x1b[31m"), r"\\x1b")
    refused(broken(quantization_config={"bits": 4}), "quantized")
    folder = broken()
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    refused(folder, "damaged")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    refused(folder, "pickle")
    (folder / "config.json").write_text("[]")
    refused(folder, "damaged")
    folder = broken()
    (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes()[:1000])
    refused(folder, "not a tokenizer")
    (folder / "preprocessor_config.json").write_text("{")
    refused(folder, "damaged")
    refused(folder / "nowhere", "no such folder")


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("llava", {"vision_config__num_hidden_layers": 10**9}, "num_hidden_layers is not a number from 1 to 1,024"),
        ("qwen2_vl", {"vision_config__depth": 10**9}, "depth is not a number from 1 to 1,024"),
        ("llava", {"vision_config__hidden_size": 10**12}, "config|no model can be made|should be"),
        ("llava", {"vision_config__image_size": 10**7}, "prepare|should be"),
        ("llava", {"vision_config__patch_size": 0}, "cannot|configuration|no model can be made"),
        ("llava", {"vision_config": "all of it"}, "vision_config is not an object"),
        ("llava", {"text_config": {"model_type": "gpt2"}}, "its architecture “gpt2"),
        ("llava", {"text_config__hidden_size": 2**40}, "hidden_size is not a number"),
        ("llava", {"vision_config": {"model_type": "pixtral"}}, "tower “pixtral” is not known"),
        ("llava", {"vision_feature_layer": 17}, "Depth 17"),
        ("llava", {"vision_feature_select_strategy": "full"}, "connector is not that of LLaVA"),
        ("llava", {"projector_hidden_act": "relu"}, "connector is not that of LLaVA"),
        ("llava_next", {"image_grid_pinpoints": [[10**9, 28]]}, "not of tiles of 28"),
        ("llava_next", {"image_grid_pinpoints": []}, "not of tiles of 28"),
        ("llava_onevision", {"vision_aspect_ratio": "anyres_max_0"}, "not of tiles of 28"),
        ("idefics3", {"scale_factor": 0}, "no model can be made"),
        ("idefics3", {"scale_factor": 3}, "should be|window"),
        ("internvl", {"downsample_ratio": 1e-9}, "no model can be made|should be"),
        ("qwen2_vl", {"text_config__rope_parameters__mrope_section": [1, 1, 1]}, "mrope_section does not add up"),
    ],
)
def test_sizes_that_cannot_be_are_refused(broken, name, changes, why):
    refused(broken(name, **changes), why)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("llava", {"crop_size": {"height": 336, "width": 336}}, "squares of 28 pixels"),
        ("llava", {"image_mean": "red"}, "image_mean"),
        ("llava_onevision", {"size": {"height": 384, "width": 384}}, "squares of 28 pixels"),
        ("idefics3", {"size": {"longest_edge": 10**6}}, "more than 32 tiles"),
        ("idefics3", {"size": {"longest_edge": -4}}, "longest_edge is not a number"),
        ("internvl", {"max_patches": 10**6}, "1 to 1000000 tiles"),
        ("qwen2_vl", {"size": {"shortest_edge": 4, "longest_edge": 2**30}}, "pixels"),
        ("qwen2_vl", {"min_pixels": 10**6, "max_pixels": 10}, "pixels"),
    ],
)
def test_ways_to_prepare_pictures_that_cannot_be_are_refused(broken, name, content, why):
    folder = broken(name)
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    refused(folder, why)


def test_a_model_of_the_hub_is_named_with_its_revision_and_never_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refusal, match="40 digits"):
        VisionLanguageModel.from_pretrained("llava-hf/llava-1.5-7b-hf", "main")
    with pytest.raises(Refusal, match="serval weights fetch hub:llava-hf"):
        VisionLanguageModel.from_pretrained("llava-hf/llava-1.5-7b-hf", "0" * 40)
    with pytest.raises(Refusal, match="HF_HUB_OFFLINE"):
        VisionLanguageModel.from_pretrained("llava-hf/llava-1.5-7b-hf", "0" * 40, allow_download=True)
    with pytest.raises(Refusal, match="no such folder"):
        VisionLanguageModel.from_pretrained("llava-hf/llava-1.5-7b-hf")
    assert not list(tmp_path.rglob("*.safetensors"))
