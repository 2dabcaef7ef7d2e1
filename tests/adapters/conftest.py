import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def shaken(parameters, seed=1):
    """Numbers large enough that a mistake shows; the same each time."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """A tiny Llama's files."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
    shaken(model.parameters(), seed=0)
    folder = tmp_path_factory.mktemp("llama")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def llama(llama_folder):
    """Makes that Llama as transformers has it, anew with each call."""
    from transformers import LlamaForCausalLM

    return lambda: LlamaForCausalLM.from_pretrained(llama_folder, attn_implementation="eager").eval().requires_grad_(False)


@pytest.fixture
def decoder(llama_folder):
    """The same Llama here."""
    from serval.language.load import load_decoder

    return load_decoder(llama_folder)
