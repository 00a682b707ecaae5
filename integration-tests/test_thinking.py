"""The budget of a model's reasoning, on every route that takes a conversation."""

import json
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from harness import Server
from relabelled import CLOSE, CONTROL

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
# Behind a tag that means nothing to it the model would end its answer or begin another message.
TALKING = {str(token): -100 for token in CONTROL if token != CLOSE}
GREEDY: dict[str, Any] = {"temperature": 0, "logit_bias": TALKING}


@pytest.fixture(scope="module")
def client(marked: Server) -> OpenAI:
    return OpenAI(base_url=f"{marked.base_url}/v1", api_key="none", max_retries=0)


def chat(client: OpenAI, budget: int, **more: Any) -> dict[str, Any]:
    """The one choice of a greedy answer within a budget, with its token ids and its `usage`."""
    asked: dict[str, Any] = {**GREEDY, "max_tokens": 48, **more}
    extra = {"thinking_token_budget": budget, "return_token_ids": True, **asked.pop("extra_body", {})}
    answer = client.chat.completions.create(
        model="tgi", messages=QUESTION, extra_body=extra, **asked
    ).model_dump()
    return {**answer["choices"][0], "usage": answer["usage"]}


@pytest.fixture(scope="module")
def free(client: OpenAI) -> dict[str, Any]:
    """The answer without a budget."""
    return chat(client, -1)


def reasoning_tokens(choice: dict[str, Any]) -> int:
    return choice["usage"]["completion_tokens_details"]["reasoning_tokens"]


def test_without_a_budget_it_thinks_to_the_end(free: dict[str, Any]) -> None:
    assert CLOSE not in free["token_ids"]
    assert free["message"]["content"] is None
    assert reasoning_tokens(free) == free["usage"]["completion_tokens"]


@pytest.mark.parametrize("budget", [0, 1, 7, 30])
def test_the_same_thought_ends_at_the_budget_and_an_answer_follows(
    client: OpenAI, free: dict[str, Any], budget: int
) -> None:
    held = chat(client, budget)
    assert held["token_ids"][: budget + 1] == [*free["token_ids"][:budget], CLOSE]
    # The closing tag is counted with the reasoning.
    assert reasoning_tokens(held) == budget + 1
    assert free["message"]["reasoning"].startswith(held["message"].get("reasoning") or "")
    assert held["message"]["content"]


def test_a_thought_that_ends_before_its_budget_is_left_alone(client: OpenAI) -> None:
    eager = chat(client, 7, logit_bias={str(CLOSE): 100}, max_tokens=3)
    assert eager["token_ids"][0] == CLOSE
    assert reasoning_tokens(eager) == 1


def test_a_stream_is_held_to_the_budget(client: OpenAI) -> None:
    whole = chat(client, 7)
    stream = client.chat.completions.create(
        model="tgi",
        messages=QUESTION,
        max_tokens=48,
        stream=True,
        extra_body={"thinking_token_budget": 7, "return_token_ids": True},
        **GREEDY,
    )
    said = {"reasoning": "", "content": "", "token_ids": []}
    for chunk in stream:
        choice = chunk.model_dump()["choices"][0]
        for part in ("reasoning", "content"):
            said[part] += choice["delta"].get(part) or ""
        said["token_ids"] += choice.get("token_ids") or []
    expected = {part: whole["message"][part] for part in ("reasoning", "content")}
    assert said == {**expected, "token_ids": whole["token_ids"]}


def test_behind_the_budget_the_answer_keeps_its_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    held = chat(client, 7, response_format=wanted, max_tokens=100)
    assert held["token_ids"][7] == CLOSE
    assert set(json.loads(held["message"]["content"])) == {"city"}


def test_a_messages_budget(marked: Server) -> None:
    client = Anthropic(base_url=marked.base_url, api_key="none", max_retries=0)
    asked: dict[str, Any] = {"model": "tgi", "messages": QUESTION, "max_tokens": 64}
    extra = {"temperature": 0}
    message = client.messages.create(
        thinking={"type": "enabled", "budget_tokens": 3}, extra_body=extra, **asked
    )
    thought, answer = message.content
    assert thought.type == "thinking" and answer.type == "text"
    assert answer.text
    longer = client.messages.create(
        thinking={"type": "enabled", "budget_tokens": 5}, extra_body=extra, **asked
    ).content[0]
    assert longer.type == "thinking"
    assert longer.thinking.startswith(thought.thinking) and longer.thinking != thought.thinking
    (block,) = client.messages.create(thinking={"type": "disabled"}, extra_body=extra, **asked).content
    assert block.type == "text"
    assert block.text == "The capital of France is Paris."


def test_a_responses_budget(client: OpenAI) -> None:
    response = client.responses.create(
        model="tgi",
        input=QUESTION,
        temperature=0,
        max_output_tokens=64,
        extra_body={"thinking_token_budget": 3},
    )
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == 4
    assert response.output_text
