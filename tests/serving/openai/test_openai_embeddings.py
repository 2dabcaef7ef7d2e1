"""`/v1/embeddings` with OpenAI's own client: the vectors of the assistant's encoder, whichever way they are sent."""

import asyncio

import numpy as np
import openai
import pytest

from serval.encoders.minilm import MiniLM

TEXTS = ["a cat", "a kitten sleeps on the sofa", "the train is late"]


def test_vectors_are_those_of_the_encoder(client):
    expected = MiniLM.open().embed(TEXTS)
    for form in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"dimensions": 384}):
        reply = client.embeddings.create(model="minilm", input=TEXTS, **form)
        found = [each.embedding for each in reply.data]
        if form.get("encoding_format") == "base64":
            import base64

            found = [np.frombuffer(base64.b64decode(each), "<f4") for each in found]
        np.testing.assert_allclose(np.array(found), expected, atol=1e-6)
        assert [each.index for each in reply.data] == [0, 1, 2] and reply.model == "minilm"
    one = client.embeddings.create(model="minilm", input=TEXTS[0])
    np.testing.assert_allclose(one.data[0].embedding, expected[0], atol=1e-6)
    assert one.usage.prompt_tokens == one.usage.total_tokens == 4  # two words, and a mark on each side


def test_batches_of_any_size_up_to_the_limit(place):
    async def many():
        async with place.async_client() as client:
            return await client.embeddings.create(model="minilm", input=[f"number {each}" for each in range(100)])

    data = asyncio.run(many()).data
    single = MiniLM.open().embed(["number 77"])[0]
    assert len(data) == 100
    np.testing.assert_allclose(data[77].embedding, single, atol=1e-5)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("input", []),
        ("input", ""),
        ("input", ["a", ""]),
        ("input", ["a"] * 513),
        ("input", "x" * 20_001),
        ("input", [[1, 2]]),
        ("dimensions", 128),
        ("encoding_format", "int8"),
        ("made_up", 1),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(client, param, value):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="minilm", input="a", extra_body={param: value})
    assert caught.value.param.startswith(param)


def test_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="a")
