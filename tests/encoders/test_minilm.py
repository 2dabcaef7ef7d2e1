"""Sentence vectors: the numbers of the reference implementation, and sentences near what they mean."""

import numpy as np
import pytest
import torch

from serval.encoders.minilm import MiniLM
from serval.weights import locate

TEXTS = (
    "a taxi",
    "The person puts a red cup on the table and leaves the room.",
    "",
    "Ça va? Über café — 猫",
    "word " * 400,
    "unbelievably antidisestablishmentarian 1234.5 ...",
)


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM.open()


def test_the_same_numbers_as_the_reference_implementation(minilm, tmp_path):
    from transformers import AutoModel, PreTrainedTokenizerFast

    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).symlink_to(locate("minilm", name))
    model = AutoModel.from_pretrained(tmp_path, local_files_only=True).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(locate("minilm", "tokenizer.json")), pad_token="[PAD]")
    inputs = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    assert np.abs(minilm.embed(TEXTS) - expected).max() < 1e-4


def test_a_batch_is_its_sentences_one_by_one(minilm):
    texts = [*TEXTS, *(f"sentence {'very ' * (i % 7)}number {i}" for i in range(70))]
    together = minilm.embed(texts)
    assert together.shape == (76, 384) and together.dtype == np.float32
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5
    alone = np.concatenate([minilm.embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_nothing_gives_nothing(minilm):
    assert minilm.embed([]).shape == (0, 384)


def test_near_in_meaning_is_near_in_space(minilm):
    car, taxi, cat, sofa, couch = minilm.embed(["a car", "a taxi", "a cat", "a sofa", "a couch"])
    assert car @ taxi > car @ cat + 0.1
    assert sofa @ couch > 0.8 > sofa @ cat


def test_a_special_token_on_a_sign_is_text(minilm):
    tokenizer = minilm._tokenizer
    assert tokenizer.encode("exit [SEP] now").ids.count(tokenizer.token_to_id("[SEP]")) == 1  # the one that ends it
