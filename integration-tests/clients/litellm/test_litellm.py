"""`litellm`: its provider for OpenAI-like servers, and the one for text-generation-inference."""

import json

import litellm
import pytest


@pytest.fixture()
def options(ask) -> dict:
    return {
        "model": "hosted_vllm/demo",
        "api_base": f"{ask.url}/v1",
        "api_key": "none",
        "temperature": 0,
        "max_tokens": 100,
        "num_retries": 0,
    }


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_chat_and_stream(options: dict, ask, provider: str) -> None:
    options["model"] = f"{provider}/demo"
    answer = litellm.completion(messages=user(ask.capital), **options)
    assert answer.choices[0].message.content == ask.paris
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    chunks = list(
        litellm.completion(
            messages=user(ask.capital), stream=True, stream_options={"include_usage": True}, **options
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ask.paris
    assert [chunk.usage.completion_tokens for chunk in chunks if getattr(chunk, "usage", None)] == [
        answer.usage.completion_tokens
    ]


def test_the_provider_of_text_generation_inference(ask) -> None:
    answer = litellm.completion(
        model="huggingface/tgi",
        api_base=f"{ask.url}/v1",
        api_key="none",
        messages=user(ask.capital),
        temperature=0,
        max_tokens=32,
    )
    assert answer.choices[0].message.content == ask.paris


def test_tools(options: dict, ask) -> None:
    asked = {"messages": user(ask.weather), "tools": [ask.tool], "tool_choice": "required", **options}
    (call,) = litellm.completion(**asked).choices[0].message.tool_calls
    ask.check_call(call.function.name, json.loads(call.function.arguments))
    chunks = list(litellm.completion(stream=True, **asked))
    whole = litellm.stream_chunk_builder(chunks)
    (streamed,) = whole.choices[0].message.tool_calls
    assert (streamed.function.name, json.loads(streamed.function.arguments)) == (
        call.function.name,
        json.loads(call.function.arguments),
    )
    assert whole.choices[0].finish_reason == "tool_calls"


def test_json_schema(options: dict, ask) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": ask.schema, "strict": True}}
    answer = litellm.completion(messages=user(ask.person), response_format=schema, **options)
    ask.check_person(json.loads(answer.choices[0].message.content))


def test_text_completion(options: dict) -> None:
    options |= {"model": "text-completion-openai/demo", "max_tokens": 8}
    answer = litellm.text_completion(prompt="Once upon a time", **options)
    assert answer.usage.completion_tokens == 8 and answer.choices[0].text


def test_errors_are_the_clients_own(options: dict, ask) -> None:
    with pytest.raises(litellm.BadRequestError, match="top_p"):
        litellm.completion(messages=user(ask.capital), top_p=7, **options)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=user(ask.capital), **{**options, "model": "hosted_vllm/no-such-model"})
