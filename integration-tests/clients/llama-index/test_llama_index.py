"""`llama-index` with its class for OpenAI-like servers."""

import asyncio
from typing import Literal

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field


class Person(BaseModel):
    """A person."""

    name: Literal["Ann", "Bob"]
    age: int = Field(ge=0, le=150)


@pytest.fixture()
def model(ask) -> OpenAILike:
    return OpenAILike(
        model="demo",
        api_base=f"{ask.url}/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        temperature=0,
        max_tokens=100,
        max_retries=0,
        context_window=8192,
    )


def test_chat_and_stream(model: OpenAILike, ask) -> None:
    messages = [ChatMessage(role="user", content=ask.capital)]
    assert model.chat(messages).message.content == ask.paris
    assert "".join(part.delta or "" for part in model.stream_chat(messages)) == ask.paris
    assert asyncio.run(model.achat(messages)).message.content == ask.paris


def test_completion(ask, model: OpenAILike) -> None:
    plain = OpenAILike(
        model="demo",
        api_base=f"{ask.url}/v1",
        api_key="none",
        is_chat_model=False,
        temperature=0,
        max_tokens=8,
    )
    whole = plain.complete("Once upon a time").text
    assert whole and "".join(part.delta or "" for part in plain.stream_complete("Once upon a time")) == whole


def get_weather(city: Literal["Paris", "London"], days: Literal[1, 2, 3]) -> str:
    """The weather of a city."""
    return f"sunny in {city} for {days}"


def test_tools(model: OpenAILike, ask) -> None:
    tool = FunctionTool.from_defaults(get_weather)
    answer = model.chat_with_tools([tool], user_msg=ask.weather, tool_required=True)
    (call,) = model.get_tool_calls_from_response(answer)
    ask.check_call(call.tool_name, call.tool_kwargs)
    assert "sunny" in model.predict_and_call([tool], user_msg=ask.weather, tool_required=True).response
    *_, last = model.stream_chat_with_tools([tool], user_msg=ask.weather, tool_required=True)
    (streamed,) = model.get_tool_calls_from_response(last)
    assert streamed.tool_kwargs == call.tool_kwargs


def test_json_schema(model: OpenAILike, ask) -> None:
    answer = model.as_structured_llm(Person).chat([ChatMessage(role="user", content=ask.person)])
    assert isinstance(answer.raw, Person)
