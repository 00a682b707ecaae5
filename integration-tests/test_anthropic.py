"""The official `anthropic` package against the real processes."""

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from harness import Server, serve

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
    },
}


@pytest.fixture()
def client(demo: Server) -> Anthropic:
    return Anthropic(base_url=demo.base_url, api_key="none", max_retries=0)


def test_a_message(client: Anthropic) -> None:
    message = client.messages.create(
        model="tgi", max_tokens=32, messages=QUESTION, extra_body={"temperature": 0}
    )
    (block,) = message.content
    assert block.type == "text"
    assert block.text == "The capital of France is Paris."
    assert message.stop_reason == "end_turn"
    assert message.role == "assistant"
    assert message.usage.output_tokens == 8


def test_a_stream_is_the_same(client: Anthropic) -> None:
    with client.messages.stream(
        model="tgi",
        max_tokens=32,
        system="You are terse.",
        messages=QUESTION,
        extra_body={"temperature": 0},
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    (block,) = message.content
    assert block.type == "text"
    assert block.text == text
    assert "Paris" in text
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


def test_ends(client: Anthropic) -> None:
    greedy: dict[str, Any] = {"temperature": 0}
    message = client.messages.create(
        model="tgi", max_tokens=32, messages=QUESTION, stop_sequences=[" France"], extra_body=greedy
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " France")
    (block,) = message.content
    assert block.type == "text"
    assert block.text == "The capital of"
    message = client.messages.create(model="tgi", max_tokens=3, messages=QUESTION, extra_body=greedy)
    assert message.stop_reason == "max_tokens"
    begun: list[Any] = [*QUESTION, {"role": "assistant", "content": "The capital of France is"}]
    message = client.messages.create(model="tgi", max_tokens=8, messages=begun, extra_body=greedy)
    (block,) = message.content
    assert block.type == "text"
    assert block.text.startswith(" Paris")


def test_a_tool_is_called_and_its_result_read(client: Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": "tgi",
        "max_tokens": 64,
        "tools": [WEATHER],
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "extra_body": {"temperature": 0},
    }
    forced: Any = {"type": "tool", "name": "get_weather"}
    message = client.messages.create(**asked, tool_choice=forced)
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert call.name == "get_weather"
    assert isinstance(call.input, dict) and isinstance(call.input["city"], str)

    with client.messages.stream(**asked, tool_choice=forced) as stream:
        (streamed,) = stream.get_final_message().content
    assert streamed.type == "tool_use"
    assert streamed.input == call.input

    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 21 degrees."}
    asked["messages"] = [
        *asked["messages"],
        {"role": "assistant", "content": [call.model_dump(include={"type", "id", "name", "input"})]},
        {"role": "user", "content": [result]},
    ]
    assert client.messages.create(**asked).content


def test_tokens_are_counted_as_they_are_used(client: Anthropic) -> None:
    count = client.messages.count_tokens(model="tgi", messages=QUESTION, tools=[WEATHER])
    message = client.messages.create(model="tgi", max_tokens=1, messages=QUESTION, tools=[WEATHER])
    cached = message.usage.cache_read_input_tokens or 0
    assert count.input_tokens == message.usage.input_tokens + cached


def test_errors_are_known_to_the_package(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="tgi", max_tokens=0, messages=QUESTION)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="other", max_tokens=1, messages=QUESTION)


def test_a_key_is_asked_for() -> None:
    with serve("--model-id", "demo", env={"API_KEY": "sesame"}) as server:
        right = Anthropic(base_url=server.base_url, api_key="sesame", max_retries=0)
        assert right.messages.create(model="tgi", max_tokens=1, messages=QUESTION).content
        wrong = Anthropic(base_url=server.base_url, api_key="other", max_retries=0)
        with pytest.raises(anthropic.AuthenticationError):
            wrong.messages.create(model="tgi", max_tokens=1, messages=QUESTION)
