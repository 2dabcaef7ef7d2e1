"""A tiny random Llama as files, the same in transformers, and the real SmolLM2, each made once."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig as ReferenceConfig
from transformers import LlamaForCausalLM

from serval.language.decoder import Decoder
from serval.language.load import load_decoder
from serval.weights import locate


@dataclass
class Tiny:
    folder: Path
    reference: LlamaForCausalLM
    decoder: Decoder


def tiny_reference(folder: Path, **changes: object) -> LlamaForCausalLM:
    """A random Llama with transformers, saved in ``folder``."""
    torch.manual_seed(11)
    sizes = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True, "rms_norm_eps": 1e-5}
    model = LlamaForCausalLM(ReferenceConfig(**(sizes | changes))).eval()
    for parameter in model.parameters():  # transformers starts so small that mistakes would hide
        torch.nn.init.normal_(parameter, std=0.15 if parameter.ndim > 1 else 1.0)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    reference = tiny_reference(folder)
    return Tiny(folder, reference, load_decoder(folder / "model.safetensors", folder / "config.json"))


@pytest.fixture(scope="session")
def smollm2() -> Decoder:
    return load_decoder(locate("smollm2", "model.safetensors"), locate("smollm2", "config.json"))
