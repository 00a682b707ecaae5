"""Tools and the newer interface by the official `openai` package, with the demo model made to call."""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI

from harness import Server

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "maximum": 7}},
    "required": ["city"],
}
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": SCHEMA,
}
CLOCK: dict[str, Any] = {"name": "get_time", "description": "The time of day"}
TOOLS: list[Any] = [{"type": "function", "function": function} for function in (WEATHER, CLOCK)]
STRICT: list[Any] = [{"type": "function", "function": {**WEATHER, "strict": True}}]
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture()
def client(demo: Server) -> OpenAI:
    return OpenAI(base_url=f"{demo.base_url}/v1", api_key="none", max_retries=0)


def check_arguments(text: str) -> dict[str, Any]:
    arguments = json.loads(text)
    assert isinstance(arguments["city"], str)
    assert set(arguments) <= {"city", "days"}
    return arguments


def test_a_named_tool_is_called(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tgi", messages=QUESTION, tools=TOOLS, tool_choice=NAMED, temperature=0, max_tokens=64
    )
    (choice,) = answer.choices
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    check_arguments(call.function.arguments)
    assert choice.finish_reason == "stop"

    again: list[Any] = [
        *QUESTION,
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."},
    ]
    answer = client.chat.completions.create(
        model="tgi", messages=again, tools=TOOLS, temperature=0, max_tokens=32
    )
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


def test_some_tool_is_called_streamed_as_whole(client: OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tgi",
        "messages": QUESTION,
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
        "max_tokens": 64,
    }
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.tool_calls is not None
    (expected,) = whole.message.tool_calls
    assert expected.type == "function"
    assert expected.function.name in ("get_weather", "get_time")
    json.loads(expected.function.arguments)

    deltas: list[Any] = []
    reasons: list[str] = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            deltas += choice.delta.tool_calls or []
            reasons += [choice.finish_reason] if choice.finish_reason else []
    assert reasons == ["tool_calls"]
    assert deltas[0].id and deltas[0].type == "function"
    assert deltas[0].function.name == expected.function.name
    assert {delta.index for delta in deltas} == {0}
    assert all(delta.id is None for delta in deltas[1:])
    joined = "".join(delta.function.arguments or "" for delta in deltas)
    assert joined == expected.function.arguments


@pytest.mark.parametrize("question", ["What is the weather in Paris?", "Who wrote Hamlet?"])
def test_an_answer_is_a_call_or_keeps_its_format(client: OpenAI, question: str) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "maxLength": 20}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    message = (
        client.chat.completions.create(
            model="tgi",
            messages=[{"role": "user", "content": question}],
            tools=STRICT,
            parallel_tool_calls=False,
            response_format=wanted,
            temperature=0,
            max_tokens=100,
        )
        .choices[0]
        .message
    )
    for call in message.tool_calls or []:
        assert call.type == "function"
        check_arguments(call.function.arguments)
    if not message.tool_calls:
        assert message.content is not None
        assert set(json.loads(message.content)) == {"answer"}


def earlier(city: str) -> list[Any]:
    """A turn in which the tool was called with arguments that its schema does not know."""
    function = {"name": "get_weather", "arguments": json.dumps({"town": city, "unit": "C"})}
    call = {"id": city, "type": "function", "function": function}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": city, "content": "Sunny."},
        {"role": "assistant", "content": "Sunny."},
    ]


def test_a_strict_call_keeps_its_schema_against_the_models_habit(client: OpenAI) -> None:
    messages = [*earlier("London"), *earlier("Berlin"), *earlier("Rome"), *QUESTION]
    asked: dict[str, Any] = {"model": "tgi", "messages": messages, "temperature": 0, "max_tokens": 100}
    for tools, keys in ((TOOLS, {"town", "unit"}), (STRICT, {"city", "days"})):
        choice = client.chat.completions.create(tools=tools, **asked).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        for call in choice.message.tool_calls:
            assert call.type == "function"
            assert set(json.loads(call.function.arguments)) <= keys
            assert tools is TOOLS or check_arguments(call.function.arguments)


def test_what_tools_cannot_be_is_refused(client: OpenAI) -> None:
    bad: list[Any] = [{"type": "function", "function": {"name": 'a"b'}}]
    with pytest.raises(openai.BadRequestError, match=r"tools\[0\]\.function\.name"):
        client.chat.completions.create(model="tgi", messages=QUESTION, tools=bad)
    other: Any = {"type": "function", "function": {"name": "other"}}
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        client.chat.completions.create(model="tgi", messages=QUESTION, tools=TOOLS, tool_choice=other)


def test_a_response(client: OpenAI) -> None:
    response = client.responses.create(
        model="tgi",
        instructions="Answer in one sentence.",
        input="What is the capital of France?",
        temperature=0,
        max_output_tokens=32,
        store=False,
    )
    assert response.status == "completed"
    assert "Paris" in response.output_text
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.instructions == "Answer in one sentence."


def test_a_response_streams_the_same(client: OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tgi",
        "input": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_output_tokens": 32,
    }
    whole = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert events[0].type == "response.created"
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text
    with client.responses.stream(**asked) as stream:
        assert stream.get_final_response().output_text == text


def test_a_response_calls(client: OpenAI) -> None:
    tools: list[Any] = [{"type": "function", "strict": True, **function} for function in (WEATHER, CLOCK)]
    response = client.responses.create(
        model="tgi",
        input="What is the weather in Paris?",
        tools=tools,
        tool_choice={"type": "function", "name": "get_weather"},
        temperature=0,
        max_output_tokens=64,
    )
    (call,) = response.output
    assert call.type == "function_call"
    assert call.name == "get_weather"
    check_arguments(call.arguments)
    items: list[Any] = [
        {"role": "user", "content": "What is the weather in Paris?"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"},
    ]
    answer = client.responses.create(model="tgi", input=items, temperature=0, max_output_tokens=16)
    assert answer.output_text


def test_nothing_is_kept_between_responses(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="tgi", input="x", previous_response_id="resp_1")


def test_a_response_tells_its_log_probabilities(client: OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tgi",
        "input": "What is the capital of France?",
        "temperature": 0,
        "max_output_tokens": 32,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    }
    whole = client.responses.create(**asked)
    (message,) = whole.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text" and part.logprobs is not None
    assert "".join(token.token for token in part.logprobs) == part.text == whole.output_text
    for token in part.logprobs:
        likeliest = token.top_logprobs[0]
        assert len(token.top_logprobs) == 2
        assert (likeliest.token, likeliest.logprob) == (token.token, token.logprob)

    chat = client.chat.completions.create(
        model="tgi",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        temperature=0,
        max_tokens=32,
        logprobs=True,
    )
    assert chat.choices[0].logprobs is not None and chat.choices[0].logprobs.content is not None
    scores = [token.logprob for token in chat.choices[0].logprobs.content][: len(part.logprobs)]
    assert [token.logprob for token in part.logprobs] == pytest.approx(scores, abs=2e-3)

    told = [
        token
        for event in client.responses.create(**asked, stream=True)
        if event.type == "response.output_text.delta"
        for token in event.logprobs
    ]
    assert [token.token for token in told] == [token.token for token in part.logprobs]
    assert [len(token.top_logprobs or []) for token in told] == [2] * len(told)


def test_a_response_leaves_out_the_oldest_items(client: OpenAI) -> None:
    story = {"role": "user", "content": "Once upon a time there was a king. " * 40}
    turns = [story, {"role": "assistant", "content": "I see."}] * 30
    question = {"role": "user", "content": "What is the capital of France?"}
    asked: dict[str, Any] = {
        "model": "tgi",
        "instructions": "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        "input": [*turns, question],
        "temperature": 0,
        "max_output_tokens": 6144,
    }
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**asked)
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")
    response = client.responses.create(**asked, truncation="auto")
    assert response.truncation == "auto"
    assert response.usage is not None
    assert 8192 - 6144 - 400 < response.usage.input_tokens <= 8192 - 6144
    assert response.output_text
