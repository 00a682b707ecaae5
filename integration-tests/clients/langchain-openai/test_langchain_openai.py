"""`langchain-openai`: the chat model with its tools, structured output and streams."""

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI


@pytest.fixture()
def model(ask) -> ChatOpenAI:
    return ChatOpenAI(
        model="demo", base_url=f"{ask.url}/v1", api_key="none", temperature=0, max_tokens=100, max_retries=0
    )


def test_chat_and_stream(model: ChatOpenAI, ask) -> None:
    answer = model.invoke(ask.capital)
    assert answer.content == ask.paris
    assert answer.usage_metadata["output_tokens"] == 8
    assert answer.response_metadata["finish_reason"] == "stop"
    chunks = list(model.stream(ask.capital, stream_usage=True))
    assert "".join(chunk.content for chunk in chunks) == ask.paris
    assert sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks) == 8


def test_async_batch(model: ChatOpenAI, ask) -> None:
    answers = asyncio.run(model.abatch([ask.capital] * 3))
    assert [answer.content for answer in answers] == [ask.paris] * 3


def test_tools(model: ChatOpenAI, ask) -> None:
    bound = model.bind_tools([ask.tool], tool_choice="any")
    answer = bound.invoke(ask.weather)
    (call,) = answer.tool_calls
    ask.check_call(call["name"], call["args"])
    streamed = None
    for chunk in bound.stream(ask.weather):
        streamed = chunk if streamed is None else streamed + chunk
    assert [(c["name"], c["args"]) for c in streamed.tool_calls] == [(call["name"], call["args"])]
    named = model.bind_tools([ask.tool], tool_choice="get_weather").invoke(ask.weather)
    ask.check_call(named.tool_calls[0]["name"], named.tool_calls[0]["args"])


def test_the_tools_result_goes_back(model: ChatOpenAI, ask) -> None:
    call = {"name": "get_weather", "args": {"city": "Paris", "days": 1}, "id": "call_1", "type": "tool_call"}
    answer = model.bind_tools([ask.tool], tool_choice="none").invoke(
        [
            HumanMessage(ask.weather),
            AIMessage("", tool_calls=[call]),
            ToolMessage("sunny, 21 degrees", tool_call_id="call_1"),
        ]
    )
    assert answer.content and not answer.tool_calls


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model: ChatOpenAI, ask, method: str) -> None:
    schema = {**ask.schema, "description": "A person."}
    answer = model.with_structured_output(schema, method=method).invoke(ask.person)
    ask.check_person(answer)


def test_logprobs(model: ChatOpenAI, ask) -> None:
    answer = model.bind(logprobs=True, top_logprobs=2).invoke(ask.capital)
    scored = answer.response_metadata["logprobs"]["content"]
    assert scored[0]["token"] == "The" and len(scored[0]["top_logprobs"]) == 2


def test_completions(ask) -> None:
    model = OpenAI(model="demo", base_url=f"{ask.url}/v1", api_key="none", temperature=0, max_tokens=8)
    whole = model.invoke("Once upon a time")
    assert whole and "".join(model.stream("Once upon a time")) == whole
