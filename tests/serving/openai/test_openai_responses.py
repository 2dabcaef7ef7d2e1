"""`/v1/responses` with OpenAI's own client: the model of `/v1/chat/completions`, told by the events that clients know."""

import asyncio
import json

import openai
import pytest

TOOL = {
    "type": "function",
    "name": "set_alarm",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"hour": {"type": "integer"}},
        "required": ["hour"],
        "additionalProperties": False,
    },
}


def respond(client, given="name three fruits", **options):
    return client.responses.create(model="smollm2", input=given, **{"max_output_tokens": 20, **options})


def chat(client, *messages):
    reply = client.chat.completions.create(model="smollm2", messages=list(messages), max_tokens=20)
    return reply.choices[0].message.content, reply.usage


def test_the_words_are_those_of_the_other_endpoint(client):
    response = respond(client, instructions="Be brief.")
    words, usage = chat(client, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "name three fruits"})
    assert response.output_text == words and len(words) > 10
    assert (response.usage.input_tokens, response.usage.output_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    cut = respond(client, max_output_tokens=5)
    assert cut.status == cut.output[0].status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    assert response.store is False and response.previous_response_id is None and response.instructions == "Be brief."
    done = respond(client, max_output_tokens=200)
    assert done.status == "completed" and done.incomplete_details is None and done.output[0].status == "completed"


def test_items_are_a_conversation(client):
    items = [
        {"role": "user", "content": "my name is Ann"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello Ann!"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "what is "}, {"type": "input_text", "text": "my name?"}]},
    ]
    said = [("user", "my name is Ann"), ("assistant", "Hello Ann!"), ("user", "what is my name?")]
    assert respond(client, items).output_text == chat(client, *({"role": r, "content": t} for r, t in said))[0]
    first = respond(client)
    again = respond(
        client, [{"role": "user", "content": "name three fruits"}, *first.output, {"role": "user", "content": "more"}]
    )
    assert again.output_text  # what was answered can be sent back as it came


def test_a_stream_tells_the_response_by_its_events(client):
    events = list(respond(client, stream=True))
    names = [each.type.removeprefix("response.") for each in events]
    around = ["created", "in_progress", "output_item.added", "content_part.added"]
    behind = ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert names[:4] == around and names[-4:] == behind and set(names[4:-4]) == {"output_text.delta"}
    assert [each.sequence_number for each in events] == list(range(len(events)))
    words = "".join(each.delta for each in events[4:-4])
    assert words == events[-4].text == events[-1].response.output_text == respond(client).output_text
    assert len({each.item_id for each in events[3:-2]}) == 1 and events[-2].item.id == events[3].item_id
    assert events[0].response.id == events[-1].response.id and events[-1].response.usage.output_tokens == 20


def test_words_can_be_held_to_a_schema(client):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    form = {"format": {"type": "json_schema", "name": "count", "schema": schema, "strict": True}}
    response = respond(client, "how many legs has a cat?", text=form)
    assert set(json.loads(response.output_text)) == {"n"} and response.text.format.name == "count"
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "nothing"}}})
    assert caught.value.param == "text.format"


def test_a_function_is_called(client):
    options = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "set_alarm"}}
    (call,) = respond(client, "set an alarm for 9", **options).output
    assert call.type == "function_call" and call.name == "set_alarm" and set(json.loads(call.arguments)) == {"hour"}
    events = list(respond(client, "set an alarm for 9", stream=True, **options))
    deltas = [each.delta for each in events if each.type == "response.function_call_arguments.delta"]
    done = next(each for each in events if each.type == "response.function_call_arguments.done")
    assert "".join(deltas) == done.arguments == call.arguments and events[-1].type == "response.completed"
    asked = {"role": "user", "content": "set an alarm for 9"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "it is set"}
    assert respond(client, [asked, call, output]).output_text


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("store", True),
        ("background", True),
        ("include", ["message.output_text.logprobs"]),
        ("reasoning", {"effort": "high"}),
        ("conversation", "conv_1"),
        ("truncation", "auto"),
        ("max_output_tokens", 0),
        ("tools", [{"type": "web_search"}]),
        ("input", []),
        ("input", [{"type": "item_reference", "id": "x"}]),
        ("input", [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]),
        ("input", [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(client, param, value):
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, extra_body={param: value})
    assert caught.value.param.startswith(param)


def test_a_picture_reaches_the_model_and_nothing_is_fetched(client):
    for url, why in (("data:image/png;base64,AAAA", "cannot see"), ("http://127.0.0.1/a.png", "cannot see")):
        with pytest.raises(openai.BadRequestError, match=why):
            respond(client, [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "low"}]}])


def test_many_may_ask_at_once(place, client):
    async def several():
        async with place.async_client() as many:
            asked = [many.responses.create(model="smollm2", input=f"tell me of {each}", max_output_tokens=12) for each in "ab"]
            return [each.output_text for each in await asyncio.gather(*asked)]

    assert asyncio.run(several()) == [respond(client, f"tell me of {each}", max_output_tokens=12).output_text for each in "ab"]
