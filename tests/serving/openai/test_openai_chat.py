"""`/v1/models` and `/v1/chat/completions` with OpenAI's own client: the words of `serval chat`, counted, held to forms, cut."""

import asyncio
import json
import time

import openai
import pytest

from serval.conversation.chat import ChatML
from serval.conversation.messages import Message
from serval.language.chat_model import ChatModel

ASKED = [{"role": "user", "content": "name three fruits"}]
ANIMALS = {
    "type": "object",
    "properties": {"animals": {"type": "integer"}},
    "required": ["animals"],
    "additionalProperties": False,
}
ALARM = {
    "type": "function",
    "function": {
        "name": "set_alarm",
        "description": "wake somebody at an hour.",
        "parameters": {
            "type": "object",
            "properties": {"hour": {"type": "integer", "description": "0 to 23"}},
            "required": ["hour"],
            "additionalProperties": False,
        },
    },
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "the weather of a city"}}
ENDLESS = {  # cannot be over before thousands of tokens have come
    "type": "json_schema",
    "json_schema": {"name": "long", "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 2000}},
}


def say(client, messages=ASKED, **options):
    return client.chat.completions.create(model="smollm2", messages=messages, **{"max_tokens": 24, **options})


def refused(client, **options):
    with pytest.raises(openai.APIStatusError) as caught:
        say(client, **options)
    return caught.value


@pytest.fixture(scope="module")
def model():
    return ChatModel.open()


def test_models_are_listed_and_found_by_name(client):
    listed = {each.id: each for each in client.models.list()}
    assert {"smollm2", "minilm"} <= set(listed)
    assert client.models.retrieve("smollm2") == listed["smollm2"] and listed["smollm2"].created > 0
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_the_words_are_those_of_serval_chat_and_tokens_are_counted(client, model):
    reply = say(client)
    messages = [Message.of("user", "name three fruits")]
    steps = []
    expected = model.reply(messages, 24, on_step=steps.append)
    assert reply.choices[0].message.content == expected and len(expected) > 10
    assert reply.choices[0].finish_reason == "length" and reply.system_fingerprint == model.model_id
    assert reply.usage.prompt_tokens == len(ChatML().encode(model.tokenizer, messages))
    assert reply.usage.completion_tokens == len(steps) == 24
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 24


def test_a_stream_brings_the_same_words_piece_by_piece(client):
    whole = say(client, max_tokens=60)
    chunks = list(say(client, max_tokens=60, stream=True, stream_options={"include_usage": True}))
    pieces = [each.choices[0].delta.content for each in chunks if each.choices and each.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content and len(pieces) > 10
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [each.choices[0].finish_reason for each in chunks if each.choices and each.choices[0].finish_reason] == ["stop"]
    assert whole.choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(each.usage is None for each in chunks[:-1]) and len({each.id for each in chunks}) == 1
    assert all(each.usage is None for each in say(client, stream=True))


def test_a_conversation_goes_on(client, model):
    said = [("user", "my name is Ann"), ("assistant", "Hello Ann!"), ("user", "what is my name?")]
    reply = say(client, [{"role": "developer", "content": "Be brief."}, *({"role": r, "content": t} for r, t in said)])
    expected = model.reply([Message.of("system", "Be brief."), *(Message.of(role, text) for role, text in said)], 24)
    assert reply.choices[0].message.content == expected


def test_words_end_before_a_stop_text(client):
    whole = say(client).choices[0].message.content
    word = whole.split()[3]
    for stop in (word, ["never", word]):
        reply = say(client, stop=stop)
        assert reply.choices[0].message.content == whole[: whole.index(word)] and reply.choices[0].finish_reason == "stop"
        assert reply.usage.completion_tokens < 24
    streamed = say(client, stop=word, stream=True)
    assert "".join(each.choices[0].delta.content or "" for each in streamed) == whole[: whole.index(word)]


def test_words_are_drawn_and_the_same_seed_draws_the_same(client):
    drawn = [say(client, temperature=1.2, top_p=0.9, seed=seed, max_tokens=10).choices[0].message.content for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    several = say(client, temperature=1.2, top_p=0.9, seed=1, n=3, max_tokens=10)
    texts = [each.message.content for each in several.choices]
    assert [each.index for each in several.choices] == [0, 1, 2] and texts[:2] == [drawn[0], drawn[2]]
    assert several.usage.completion_tokens <= 30 and several.usage.prompt_tokens == say(client).usage.prompt_tokens
    unseeded = {say(client, temperature=1.5, max_tokens=10).choices[0].message.content for _ in range(4)}
    assert len(unseeded) > 1


def test_each_token_is_told_with_its_chance(client, model):
    reply = say(client, logprobs=True, top_logprobs=3)
    told = reply.choices[0].logprobs.content
    assert b"".join(bytes(each.bytes) for each in told).decode() == reply.choices[0].message.content
    assert len(told) == reply.usage.completion_tokens
    for each in told:  # it says the likeliest
        assert each.logprob == max(one.logprob for one in each.top_logprobs) <= 0 and len(each.top_logprobs) == 3
        assert each.token == each.top_logprobs[0].token
    streamed = [each.choices[0].logprobs for each in say(client, logprobs=True, stream=True)]
    chances = [one.logprob for each in streamed if each is not None for one in each.content]
    assert chances == [each.logprob for each in told]
    assert say(client).choices[0].logprobs is None


def test_replies_are_json_of_a_schema(client):
    asked = [{"role": "user", "content": "a cat and two dogs: how many animals?"}]
    form = {"type": "json_schema", "json_schema": {"name": "count", "schema": ANIMALS, "strict": True}}
    reply = say(client, asked, response_format=form)
    assert set(json.loads(reply.choices[0].message.content)) == {"animals"} and reply.choices[0].finish_reason == "stop"
    exact = reply.usage.completion_tokens  # as many as are needed are enough
    assert say(client, asked, response_format=form, max_tokens=exact).choices[0].finish_reason == "stop"
    assert say(client, asked, response_format=form, max_tokens=exact - 1).choices[0].finish_reason == "length"
    anything = say(client, [{"role": "user", "content": "Ann is 7"}], response_format={"type": "json_object"}, max_tokens=80)
    assert isinstance(json.loads(anything.choices[0].message.content), dict)
    assert say(client, response_format={"type": "text"}).choices == say(client).choices


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "set_alarm"}}])
def test_a_function_is_called_with_arguments_of_its_schema(client, choice):
    asked = [{"role": "user", "content": "set an alarm for 9"}]
    tools = [ALARM] if choice == "required" else [WEATHER, ALARM]
    reply = say(client, asked, tools=tools, tool_choice=choice).choices[0]
    (call,) = reply.message.tool_calls
    assert call.function.name == "set_alarm" and set(json.loads(call.function.arguments)) == {"hour"}
    assert reply.finish_reason == "tool_calls" and reply.message.content is None and call.id.startswith("call_")
    chunks = [each.choices[0] for each in say(client, asked, tools=tools, tool_choice=choice, stream=True)]
    deltas = [each.delta.tool_calls[0] for each in chunks if each.delta.tool_calls]
    assert deltas[0].function.name == "set_alarm" and deltas[0].id.startswith("call_") and len(deltas) > 1
    assert "".join(each.function.arguments for each in deltas) == call.function.arguments
    assert chunks[-1].finish_reason == "tool_calls"
    answer = {"role": "tool", "tool_call_id": call.id, "content": "it is set"}
    after = say(client, [*asked, reply.message, answer], tools=tools, tool_choice="none").choices[0]
    assert after.message.content and after.message.tool_calls is None


def test_the_model_picks_among_functions_and_words(client):
    required = say(client, tools=[ALARM, WEATHER], tool_choice="required").choices[0].message
    assert required.tool_calls[0].function.name in ("set_alarm", "get_weather")
    free = say(client, tools=[ALARM, WEATHER]).choices[0]
    assert bool(free.message.tool_calls) != bool(free.message.content)
    assert say(client, tools=[ALARM], tool_choice="none").choices == say(client).choices
    assert refused(client, tool_choice="required").param == "tool_choice"
    assert refused(client, tools=[ALARM, ALARM]).param == "tools"
    other = {"type": "function", "function": {"name": "other"}}
    assert refused(client, tools=[ALARM], tool_choice=other).param == "tool_choice"


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("temperature", 2.5),
        ("top_p", 0),
        ("n", 9),
        ("max_tokens", 0),
        ("max_completion_tokens", "many"),
        ("logit_bias", {"1": 5}),
        ("presence_penalty", 0.5),
        ("store", True),
        ("audio", {"format": "wav", "voice": "alloy"}),
        ("modalities", ["text", "audio"]),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
        ("top_logprobs", 3),
        ("stream_options", {"include_usage": True}),
        ("made_up", 1),
        ("response_format", {"type": "grammar"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(client, param, value):
    error = refused(client, extra_body={param: value})
    assert error.status_code == 400 and error.param.startswith(param) and error.body["type"] == "invalid_request_error"


def test_what_asks_for_nothing_is_let_through(client):
    quiet = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "store": False, "user": "ann", "top_k": 5}
    assert say(client, extra_body=quiet).choices == say(client).choices


def test_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o\n", messages=ASKED)
    assert caught.value.param == "model" and "gpt-4o?" in caught.value.message


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "nobody", "content": "hi"}],
        [{"role": "user"}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "hologram", "hologram": {}}]}],
        [{"role": "user", "content": "word " * 9000}],
        [{"role": "user", "content": "x" * 500_000}],
    ],
)
def test_conversations_that_cannot_be_read_are_refused(client, messages):
    error = refused(client, messages=messages)
    assert error.status_code == 400 and error.param == "messages" and "/" not in error.body["message"]
    with pytest.raises(openai.BadRequestError):  # also where a stream was asked for
        say(client, messages, stream=True)


def test_results_are_the_same_whoever_else_asks(place):
    """One, two and eight at a time."""
    forms = [{}, {"response_format": {"type": "json_object"}}, {"temperature": 1.0, "seed": 3}, {"logprobs": True}]
    asked = [
        {"messages": [{"role": "user", "content": f"tell me of {what}"}], **form}
        for what in ("cats", "trains")
        for form in forms
    ]

    async def all_of(at_once):
        gate = asyncio.Semaphore(at_once)
        async with place.async_client() as client:

            async def one(number, options):
                async with gate:
                    if number % 2:
                        reply = await client.chat.completions.create(model="smollm2", max_tokens=16, **options)
                        return reply.choices[0].message.content
                    stream = await client.chat.completions.create(model="smollm2", max_tokens=16, stream=True, **options)
                    return "".join([each.choices[0].delta.content or "" async for each in stream])

            return await asyncio.gather(*(one(number, options) for number, options in enumerate(asked)))

    alone = asyncio.run(all_of(1))
    assert len(set(alone)) > 4 and all(alone)
    assert asyncio.run(all_of(2)) == alone
    assert asyncio.run(all_of(8)) == alone


@pytest.mark.parametrize("stream", [True, False])
def test_nobody_speaks_to_who_has_left(place, client, monkeypatch, stream):
    speaker, ended, begun = place.opened.speaker(), [], []
    say_ = speaker.say

    def watched(wish, cancelled, on_piece):
        begun.append(wish)
        ended.append(say_(wish, cancelled, on_piece))
        return ended[-1]

    monkeypatch.setattr(speaker, "say", watched)

    async def leave():
        async with place.async_client() as client:
            asked = client.chat.completions.create(
                model="smollm2", messages=ASKED, max_tokens=8000, response_format=ENDLESS, stream=stream
            )
            if stream:
                async with await asked as words:
                    async for _ in words:
                        return
            task = asyncio.ensure_future(asked)
            while not begun:
                await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(leave())
    assert say(client).choices[0].message.content  # its turn comes when the other one has stopped
    assert ended[0].tokens < 2000


def test_more_than_can_wait_are_sent_away(place, client):
    speaker = place.opened.speaker()

    async def crowd():
        async with place.async_client() as client:
            with speaker.attention.turn("somebody else"):
                tasks = [
                    asyncio.ensure_future(client.chat.completions.create(model="smollm2", messages=ASKED, max_tokens=1))
                    for _ in range(17)
                ]
                done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                assert len(done) == 1 and isinstance(done.pop().exception(), openai.RateLimitError)
            return await asyncio.gather(*waiting)

    assert len(asyncio.run(crowd())) == 16
    while place.opened._places.taken:  # a thread that has told its last is over soon
        time.sleep(0.01)
    assert say(client).choices
