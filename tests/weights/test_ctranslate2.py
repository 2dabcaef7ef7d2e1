"""A Whisper that CTranslate2 wrote says in transformers what it said; whatever is none is refused."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperConfig, WhisperForConditionalGeneration

from serval.refusal import Refusal
from serval.weights.ctranslate2 import convert

SIZES = {
    "vocab_size": 40,
    "num_mel_bins": 8,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 24,
    "max_source_positions": 12,
    "max_target_positions": 10,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


@pytest.fixture(scope="module")
def whisper():
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**SIZES))
    for parameter in model.parameters():
        parameter.data = (torch.randn_like(parameter) * 0.3).half().float()
    return model.eval()


def arrays(model):
    """What CTranslate2 stores of it: other names, and projections of attention joined."""
    made = {"encoder/num_heads": np.array(2, np.int16), "decoder/num_heads": np.array(2, np.int16)}
    state = {name: each.numpy() for name, each in model.state_dict().items()}

    def put(theirs, ours, names=("weight", "bias")):
        made[f"{theirs}/{names[0]}"], made[f"{theirs}/{names[1]}"] = state[f"{ours}.weight"], state[f"{ours}.bias"]

    def norm(theirs, ours):
        put(f"{theirs}/layer_norm", ours, ("gamma", "beta"))

    def join(theirs, ours, names):
        made[f"{theirs}/weight"] = np.concatenate([state[f"{ours}.{each}.weight"] for each in names])
        made[f"{theirs}/bias"] = np.concatenate([state.get(f"{ours}.{each}.bias", np.zeros(16, np.float32)) for each in names])

    for part, count in (("encoder", 2), ("decoder", 3)):
        made[f"{part}/position_encodings/encodings"] = state[f"model.{part}.embed_positions.weight"]
        norm(part, f"model.{part}.layer_norm")
        for number in range(count):
            theirs, ours = f"{part}/layer_{number}", f"model.{part}.layers.{number}"
            norm(f"{theirs}/self_attention", f"{ours}.self_attn_layer_norm")
            join(f"{theirs}/self_attention/linear_0", f"{ours}.self_attn", ("q_proj", "k_proj", "v_proj"))
            put(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
            if part == "decoder":
                norm(f"{theirs}/attention", f"{ours}.encoder_attn_layer_norm")
                put(f"{theirs}/attention/linear_0", f"{ours}.encoder_attn.q_proj")
                join(f"{theirs}/attention/linear_1", f"{ours}.encoder_attn", ("k_proj", "v_proj"))
                put(f"{theirs}/attention/linear_2", f"{ours}.encoder_attn.out_proj")
            norm(f"{theirs}/ffn", f"{ours}.final_layer_norm")
            put(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            put(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    put("encoder/conv1", "model.encoder.conv1")
    put("encoder/conv2", "model.encoder.conv2")
    made["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    return made


def written(path, named, spec=b"WhisperSpec", kind=4):
    def word(text):
        return struct.pack("<H", len(text) + 1) + text + b"\0"

    data = struct.pack("<I", 6) + word(spec) + struct.pack("<II", 3, len(named))
    for name, each in named.items():
        whole = each.dtype.kind == "i"
        raw = each.tobytes() if whole else each.astype({0: "<f4", 1: "<i1", 4: "<f2"}[kind]).tobytes()
        sides = b"".join(struct.pack("<I", side) for side in each.shape)
        data += word(name.encode()) + bytes([each.ndim]) + sides + bytes([2 if whole else kind])
        data += struct.pack("<I", len(raw)) + raw
    path.write_bytes(data + struct.pack("<I", 0))
    return path


@pytest.mark.parametrize("kind", [0, 4])
def test_it_hears_and_says_the_same(whisper, tmp_path, kind):
    convert(written(tmp_path / "model.bin", arrays(whisper), kind=kind), tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert {name: content[name] for name in SIZES if name in content} == {
        name: size for name, size in SIZES.items() if not name.endswith("_id")
    }
    again = WhisperForConditionalGeneration(WhisperConfig(**(SIZES | content)))
    state = {name: each.float() for name, each in load_file(tmp_path / "model.safetensors").items()}
    again.load_state_dict(state | {"proj_out.weight": state["model.decoder.embed_tokens.weight"]})
    mel, ids = torch.randn(1, 8, 24), torch.tensor([[1, 7, 30]])
    with torch.inference_mode():
        expected, found = (model.eval()(mel, decoder_input_ids=ids).logits for model in (whisper, again))
    torch.testing.assert_close(found, expected)
    assert expected.std() > 0.1


def test_a_file_that_is_cut_off_anywhere_is_refused(whisper, tmp_path):
    data = written(tmp_path / "model.bin", arrays(whisper)).read_bytes()
    for cut in (0, 3, 10, 30, 200, len(data) // 2, len(data) - 600):
        (tmp_path / "cut.bin").write_bytes(data[:cut])
        with pytest.raises(Refusal, match=r"cut\.bin: it is no whole Whisper"):
            convert(tmp_path / "cut.bin", tmp_path / "out")


@pytest.mark.parametrize("change", [{"kind": 1}, {"spec": b"TransformerSpec"}])
def test_a_quantised_one_or_another_model_is_refused(whisper, tmp_path, change):
    with pytest.raises(Refusal, match="no whole Whisper"):
        convert(written(tmp_path / "model.bin", arrays(whisper), **change), tmp_path / "out")


def test_one_that_lacks_a_part_is_refused(whisper, tmp_path):
    named = arrays(whisper)
    del named["decoder/layer_2/attention/linear_1/bias"]
    with pytest.raises(Refusal, match="no whole Whisper"):
        convert(written(tmp_path / "model.bin", named), tmp_path / "out")
