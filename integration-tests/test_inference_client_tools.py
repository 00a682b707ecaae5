"""Tools and grammars with `huggingface_hub.InferenceClient`."""

import asyncio
import json

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient

from harness import Server
from test_openai_tools import QUESTION, WEATHER, Person, check


@pytest.fixture()
def client(demo: Server) -> InferenceClient:
    return InferenceClient(base_url=demo.base_url)


def test_tools(client: InferenceClient) -> None:
    answer = client.chat_completion(
        QUESTION, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=100
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    arguments = call.function.arguments
    check(arguments if isinstance(arguments, str) else json.dumps(arguments))
    stream = client.chat_completion(
        QUESTION, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=100, stream=True
    )
    parts = [part for chunk in stream if chunk.choices for part in chunk.choices[0].delta.tool_calls or ()]
    assert parts[0].function.name == "get_weather"
    assert "".join(part.function.arguments or "" for part in parts) == arguments


def test_schemas(client: InferenceClient) -> None:
    schema = Person.model_json_schema()
    messages = [{"role": "user", "content": "Tell me of a person as JSON."}]
    for form in (
        {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
        {"type": "json", "value": schema},
    ):
        answer = client.chat_completion(messages, response_format=form, temperature=0, max_tokens=100)
        Person.model_validate_json(answer.choices[0].message.content)


def test_grammars(demo: Server) -> None:
    client = InferenceClient(model=demo.base_url)
    grammar = {"type": "json", "value": Person.model_json_schema()}
    text = client.text_generation("A person: ", grammar=grammar, max_new_tokens=80, return_full_text=False)
    Person.model_validate_json(text)
    grammar = {"type": "regex", "value": "[0-9]{3}-[a-z]{2}"}
    text = client.text_generation("A plate: ", grammar=grammar, max_new_tokens=20, return_full_text=False)
    assert len(text) == 6 and text[:3].isdigit() and text[3] == "-" and text[4:].isalpha()


def test_async(demo: Server) -> None:
    async def run() -> tuple[str, str]:
        async with AsyncInferenceClient(base_url=demo.base_url) as client:
            whole = await client.chat_completion(QUESTION, temperature=0, max_tokens=8)
            stream = await client.chat_completion(QUESTION, temperature=0, max_tokens=8, stream=True)
            parts = [c.choices[0].delta.content or "" async for c in stream if c.choices]
            return whole.choices[0].message.content, "".join(parts)

    whole, streamed = asyncio.run(run())
    assert whole == streamed != ""
