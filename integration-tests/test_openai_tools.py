"""Tools and schemas with the official `openai` package."""

import json
from typing import Any, Literal

import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from harness import Server

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Paris", "London"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
OPTIONS: dict[str, Any] = {"model": "tgi", "temperature": 0, "max_tokens": 100}


class Person(BaseModel):
    name: Literal["Ann", "Bob"]
    age: int = Field(ge=0, le=150)


@pytest.fixture()
def client(demo: Server) -> OpenAI:
    return OpenAI(base_url=f"{demo.base_url}/v1", api_key="none", max_retries=0)


def check(arguments: str) -> dict[str, Any]:
    told = json.loads(arguments)
    assert set(told) == {"city", "days"} and told["city"] in ("Paris", "London") and 1 <= told["days"] <= 7
    return told


def test_a_call_that_must_be(client: OpenAI) -> None:
    for choice, reason in (
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "get_weather"}}, "stop"),
    ):
        answer = client.chat.completions.create(
            messages=QUESTION, tools=[WEATHER], tool_choice=choice, **OPTIONS
        ).choices[0]
        (call,) = answer.message.tool_calls or []
        assert call.type == "function" and call.id and call.function.name == "get_weather"
        check(call.function.arguments)
        assert answer.finish_reason in {reason, "tool_calls"}


def test_a_streamed_call_is_the_same(client: OpenAI) -> None:
    asked: dict[str, Any] = {"messages": QUESTION, "tools": [WEATHER], "tool_choice": "required", **OPTIONS}
    whole = client.chat.completions.create(**asked).choices[0].message.tool_calls
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    names = [
        [(call.function.name, check(call.function.arguments)) for call in calls or ()]
        for calls in (whole, streamed.message.tool_calls)
    ]
    assert names[0] == names[1] != []


def test_none_and_auto_answer_in_words(client: OpenAI) -> None:
    for choice in ("none", "auto"):
        answer = client.chat.completions.create(
            messages=QUESTION, tools=[WEATHER], tool_choice=choice, **OPTIONS
        )
        assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_the_result_of_a_call_goes_back(client: OpenAI) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris", "days": 1}'},
    }
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21 degrees"},
    ]
    answer = client.chat.completions.create(messages=messages, tools=[WEATHER], tool_choice="none", **OPTIONS)
    assert answer.choices[0].message.content


def test_an_answer_in_a_schema(client: OpenAI) -> None:
    messages = [{"role": "user", "content": "Tell me of a person as JSON."}]
    answer = client.chat.completions.parse(messages=messages, response_format=Person, **OPTIONS)
    assert isinstance(answer.choices[0].message.parsed, Person)
    with client.chat.completions.stream(messages=messages, response_format=Person, **OPTIONS) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed
    free = client.chat.completions.create(
        messages=messages, response_format={"type": "json_object"}, **OPTIONS
    )
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content or ""), dict)
