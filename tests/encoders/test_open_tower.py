"""Folders as Hugging Face writes them become the same tower; what is wrong with one is said in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from serval.encoders.features import Batch
from serval.encoders.model_tower import quiet
from serval.encoders.open_tower import new_tower, open_tower
from serval.encoders.sound import Sound
from serval.refusal import Refusal
from serval.weights import PartMissing

VIT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
LOOK = {**VIT, "image_size": 28, "patch_size": 7}
TEXT = {**VIT, "vocab_size": 40, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
KINDS = (
    "clip_vision_model siglip_vision_model siglip2_vision_model dinov2 dinov2_with_registers dinov3_vit dinov3_convnext vit "
    "beit convnext convnextv2 focalnet hiera whisper audio-spectrogram-transformer wav2vec2 clap_audio_model"
).split()


def seen(tower) -> torch.Tensor:
    """Tokens of something that the tower takes."""
    if hasattr(tower, "extractor"):
        wave = np.random.default_rng(0).normal(size=round(0.3 * tower.rate)).astype(np.float32)
        return tower.encode(tower.prepare([Sound(wave, tower.rate)])).tokens
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return tower.encode(tower.prepare([picture])).tokens


def write(folder, content, name="config.json") -> None:
    (folder / name).write_text(json.dumps(content))


def read(folder, name="config.json") -> dict:
    return json.loads((folder / name).read_text())


def change(folder, **values) -> None:
    write(folder, {**read(folder), **values})


@pytest.fixture
def folder(tiny, tmp_path):
    """A saved CLIP tower."""
    tiny("clip_vision_model").save(tmp_path / "clip")
    return tmp_path / "clip"


def refused(folder, **options) -> str:
    with pytest.raises(Refusal) as caught:
        open_tower(folder, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tower_is_the_same_when_opened(tiny, tmp_path, kind):
    tower = tiny(kind)
    tower.save(tmp_path)
    opened = open_tower(tmp_path)
    assert type(opened) is type(tower) and opened.widths == tower.widths
    assert torch.equal(seen(opened), seen(tower))
    assert opened.identity() == tower.identity()
    assert not opened.training and not any(parameter.requires_grad for parameter in opened.parameters())


@pytest.mark.parametrize("kind", ["clip_vision_model", "vit", "wav2vec2", "hiera"])
def test_shards_are_put_together(tiny, tmp_path, kind):
    tower = tiny(kind)
    with quiet():
        tower.model.save_pretrained(tmp_path, max_shard_size="6KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    assert torch.equal(seen(open_tower(tmp_path)), seen(tower))


def whole(name: str):
    """A whole model that has a tower in it: the model, its tower's state under the tower's own names, and what it takes."""
    import transformers as t

    audio = {"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_embeds_hidden_size": 8, "depths": [2, 1]}
    audio |= {"num_attention_heads": [1, 2], "hidden_size": 16}
    ears = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 60}
    ears |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_source_positions": 50}
    waves = {**VIT, "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [8, 5], "num_conv_pos_embeddings": 6}
    waves |= {"num_conv_pos_embedding_groups": 2, "vocab_size": 9}
    look2 = {**VIT, "patch_size": 7, "num_patches": 16}
    made = {
        "clip": lambda: (m := t.CLIPModel(t.CLIPConfig(text_config=TEXT, vision_config=LOOK)), m.vision_model),
        "siglip": lambda: (m := t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=LOOK)), m.vision_model),
        "siglip2": lambda: (m := t.Siglip2Model(t.Siglip2Config(text_config=TEXT, vision_config=look2)), m.vision_model),
        "clap": lambda: (
            m := t.ClapModel(t.ClapConfig(text_config={**TEXT, "pad_token_id": 1}, audio_config=audio)),
            m.audio_model,
        ),
        "whisper": lambda: (m := t.WhisperModel(t.WhisperConfig(**ears, pad_token_id=0)), m.encoder),
        "whisper that writes": lambda: (
            m := t.WhisperForConditionalGeneration(t.WhisperConfig(**ears, pad_token_id=0)),
            m.model.encoder,
        ),
        "classifier": lambda: (m := t.ViTForImageClassification(t.ViTConfig(**LOOK)), m.vit),
        "dino classifier": lambda: (m := t.Dinov2ForImageClassification(t.Dinov2Config(**LOOK)), m.dinov2),
        "beit classifier": lambda: (m := t.BeitForImageClassification(t.BeitConfig(**LOOK, use_mean_pooling=True)), m.beit),
        "hiera without pooling": lambda: (
            m := t.HieraModel(t.HieraConfig(embed_dim=8, depths=[1, 1, 1, 1], image_size=[64, 64]), add_pooling_layer=False),
            m,
        ),
        "speech recognizer": lambda: (m := t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**waves)), m.wav2vec2),
    }
    return made[name]()


WHOLE = (
    "clip,siglip,siglip2,clap,whisper,whisper that writes,classifier,dino classifier,beit classifier,hiera without pooling,"
    "speech recognizer"
).split(",")


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_whole_model_the_tower_is_read(tmp_path, enlarge, name):
    with quiet():
        model, part = whole(name)
        enlarge(model)
        model.eval().save_pretrained(tmp_path)
    tower = open_tower(tmp_path)
    expected = part.state_dict()
    found = tower.model.state_dict()
    assert found.keys() <= expected.keys() and len(found) > 15
    assert expected.keys() - found.keys() <= {"masked_spec_embed"}  # what masks in training
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key]), key
    assert seen(tower).isfinite().all()


def test_a_classifier_has_no_pooler_of_its_own(tmp_path):
    with quiet():
        whole("classifier")[0].save_pretrained(tmp_path)
    tower = open_tower(tmp_path)
    features = tower.encode(Batch(torch.zeros(1, 3, 28, 28)))
    assert features.pooled is None and features.prefix is not None


def test_old_checkpoints_of_towers_name_the_part_too(folder, tiny):
    """CLIP's and SigLIP's towers were saved with ``vision_model.`` before every name, and with their positions' numbers."""
    state = {f"vision_model.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(seen(open_tower(folder)), seen(tiny("clip_vision_model")))


def test_device_precision_and_training_are_asked_for(folder):
    tower = open_tower(folder, dtype=torch.bfloat16, device="cpu", frozen=False)
    assert tower.dtype == torch.bfloat16 and tower.training and all(each.requires_grad for each in tower.parameters())
    assert seen(tower).requires_grad


def test_without_a_file_pictures_are_prepared_as_usual_in_the_family(folder, tiny):
    (folder / "preprocessor_config.json").unlink()
    opened = open_tower(folder)
    assert (opened.preparation.size, opened.preparation.crop) == (28, (28, 28))
    assert torch.equal(seen(opened), seen(tiny("clip_vision_model")))
    # Newer processors write both their halves into one file.
    write(
        folder,
        {"image_processor": {"image_processor_type": "CLIPImageProcessor", "size": 90, "crop_size": 70}},
        "processor_config.json",
    )
    assert open_tower(folder).preparation.size == 90


def test_code_of_a_folder_is_never_run(folder, tiny):
    """A known architecture is read without it; an unknown one is refused, naming it."""
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    change(folder, auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"})
    assert torch.equal(seen(open_tower(folder)), seen(tiny("clip_vision_model")))
    change(folder, model_type="evil")
    assert "brings code of its own (auto_map), which is never run" in refused(folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refused(folder).startswith("clip/pytorch_model.bin: pickled weights can run code and are never read; convert")


@pytest.mark.parametrize("keep", [0, 7, 60, -1])
def test_a_file_that_was_cut_off(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "clip/model.safetensors: it is cut off or damaged" in refused(folder)


def test_tensors_that_the_configuration_does_not_ask_for(folder):
    state = load_file(folder / "model.safetensors")
    wrong = {**state, "pre_layrnorm.weight": torch.ones(7)}
    del wrong["post_layernorm.bias"]
    save_file(wrong, folder / "model.safetensors", metadata={"format": "pt"})
    expected = "clip/model.safetensors: post_layernorm.bias is missing, pre_layrnorm.weight is 7 and should be 16; give the"
    assert refused(folder).startswith(expected)
    save_file({name: state[name] for name in list(state)[:30]}, folder / "model.safetensors", metadata={"format": "pt"})
    assert "more; give the weights" in refused(folder) or "config.json asks for" in refused(folder)


def test_a_wrong_tensor_of_a_shard_is_named_with_its_shard(tiny, tmp_path):
    with quiet():
        tiny("clip_vision_model").model.save_pretrained(tmp_path / "clip", max_shard_size="6KB")
    places = read(tmp_path / "clip", "model.safetensors.index.json")["weight_map"]
    shard = places["pre_layrnorm.weight"]
    state = load_file(tmp_path / "clip" / shard)
    save_file({**state, "pre_layrnorm.weight": torch.ones(3)}, tmp_path / "clip" / shard, metadata={"format": "pt"})
    assert refused(tmp_path / "clip").startswith(f"clip/{shard}: pre_layrnorm.weight is 3 and should be 16")
    (tmp_path / "clip" / shard).unlink()
    assert refused(tmp_path / "clip").startswith(f"clip/{shard}: it is missing or cannot be read")


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "{", '{"weight_map": {}}', '{"weight_map": {"a": "../x.safetensors"}}', '{"weight_map": {"a": "x.bin"}}'],
)
def test_an_index_that_is_none(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    assert refused(folder).startswith("clip/model.safetensors.index.json: it ")


def test_a_quantized_tensor(folder):
    state = load_file(folder / "model.safetensors")
    state["pre_layrnorm.weight"] = torch.ones(16, dtype=torch.int8)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "pre_layrnorm.weight is not of floats" in refused(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "llava"}, "the architecture 'llava' is not known here; one of "),
        ({"model_type": None}, "the architecture that it names is not known here"),
        ({"model_type": "a\nb"}, "the architecture that it names is not known here"),
        ({"model_type": "clip", "vision_config": []}, "its vision_config is not a configuration"),
        ({"quantization_config": {"bits": 4}}, "its weights are quantized"),
        ({"num_hidden_layers": 10**6}, "its num_hidden_layers is not a number up to 1,024"),
        ({"hidden_size": 10**12}, "its hidden_size is not a number up to"),
        ({"layer_norm_eps": float("nan")}, "its layer_norm_eps is not a number up to"),
        ({"hidden_size": "wide"}, "it is not a configuration of clip_vision_model"),
        ({"hidden_size": 2**16, "intermediate_size": 2**18}, "where config.json asks for"),
        ({"hidden_size": 17}, "it is not a configuration of clip_vision_model"),
        ({"num_channels": -3}, "no model can be made of it"),
        ({"hidden_act": "unheard of"}, "no model can be made of it"),
    ],
)
def test_configurations_that_cannot_be(folder, values, said):
    change(folder, **values)
    assert said in refused(folder)


def test_files_that_are_no_json(folder):
    (folder / "config.json").write_bytes(b"\xff{")
    assert refused(folder).startswith("clip/config.json: it is damaged")
    (folder / "config.json").unlink()
    assert refused(folder).startswith("clip/config.json: there is no such file")
    shutil.rmtree(folder)
    assert "there is no such folder" in refused(folder)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert refused(folder).startswith("clip/model.safetensors: there is no such file")


def test_a_preparation_of_another_model(folder, tiny, tmp_path):
    write(folder, {"image_processor_type": "Siglip2ImageProcessor"}, "preprocessor_config.json")
    assert "it does not prepare pictures for clip_vision_model" in refused(folder)
    tiny("whisper").save(tmp_path / "whisper")
    content = read(tmp_path / "whisper", "preprocessor_config.json")
    write(tmp_path / "whisper", {**content, "feature_size": 128}, "preprocessor_config.json")
    assert "its feature_size is 128 and the model reads 80" in refused(tmp_path / "whisper")
    write(tmp_path / "whisper", {**content, "n_fft": 10**9}, "preprocessor_config.json")
    assert "its n_fft is not a number up to" in refused(tmp_path / "whisper")
    write(tmp_path / "whisper", {**content, "sampling_rate": "fast"}, "preprocessor_config.json")
    assert "no WhisperFeatureExtractor can be made of it" in refused(tmp_path / "whisper")
    write(tmp_path / "whisper", {**content, "feature_extractor_type": "ASTFeatureExtractor"}, "preprocessor_config.json")
    assert "it does not prepare sounds for whisper" in refused(tmp_path / "whisper")


def test_hub_models_are_not_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = "hub:someone/clip@" + "a" * 40
    with pytest.raises(PartMissing, match="not on this machine"):
        open_tower(name)
    with pytest.raises(Refusal, match="with its revision"):
        open_tower("hub:someone/clip", fetch=True)
    with pytest.raises(Refusal, match="switched off"):
        open_tower(name, fetch=True)


def test_a_hub_model_that_is_here(monkeypatch, tmp_path, tiny):
    """Fetched by a stand-in for the hub's client; then opened with nothing but the disk."""
    import huggingface_hub

    def snapshot(repository, *, revision, local_dir, allow_patterns):
        assert (repository, revision) == ("someone/clip", "a" * 40) and "*.safetensors" in allow_patterns
        tiny("clip_vision_model").save(local_dir)

    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    name = "hub:someone/clip@" + "a" * 40
    fetched = open_tower(name, fetch=True)
    monkeypatch.delattr(huggingface_hub, "snapshot_download")
    assert torch.equal(seen(open_tower(name)), seen(fetched))
    weights = next(tmp_path.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    with pytest.raises(Refusal, match=r"model\.safetensors is not what was installed"):
        open_tower(name)


def test_a_whole_models_configuration_makes_a_new_tower():
    tower = new_tower({"model_type": "siglip", "vision_config": LOOK})
    assert tower.config.model_type == "siglip_vision_model" and tower.widths == (16, 16, 16)
    with pytest.raises(Refusal, match="the configuration: the architecture 'gpt2' is not known here"):
        new_tower({"model_type": "gpt2"})
    with pytest.raises(Refusal, match="the configuration: no model can be made of it"):
        new_tower({"model_type": "vit", **LOOK, "num_channels": -3})


def test_nothing_is_printed(folder, capfd):
    open_tower(folder)
    assert capfd.readouterr() == ("", "")
