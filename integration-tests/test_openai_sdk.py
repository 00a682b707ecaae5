"""The official `openai` package against the real processes."""

import math

import openai
import pytest
from openai import OpenAI

from harness import Server

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture()
def client(demo: Server) -> OpenAI:
    return OpenAI(base_url=f"{demo.base_url}/v1", api_key="none", max_retries=0)


def test_models(client: OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.object == "model"
    assert client.models.retrieve(model.id).id == model.id


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tgi", messages=QUESTION, temperature=0, max_tokens=32)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == "The capital of France is Paris."
    assert choice.finish_reason == "stop"
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details is not None


def test_chat_stream_is_the_same(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tgi",
        messages=QUESTION,
        temperature=0,
        max_tokens=32,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "The capital of France is Paris."
    reasons = [
        chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason
    ]
    assert reasons == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8
    assert len({chunk.id for chunk in chunks}) == 1


def test_max_tokens_and_length(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tgi", messages=QUESTION, temperature=0, max_completion_tokens=3
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 3


def test_stop_strings_are_found_across_tokens_and_trimmed(client: OpenAI) -> None:
    for stop in ("tal of Fr", ["nothing", "tal of Fr"]):
        answer = client.chat.completions.create(
            model="tgi", messages=QUESTION, temperature=0, max_tokens=32, stop=stop
        )
        assert answer.choices[0].message.content == "The capi"
        assert answer.choices[0].finish_reason == "stop"


def test_seed_decides_and_choices_differ(client: OpenAI) -> None:
    def ask(seed: int, n: int = 1) -> list[str | None]:
        answer = client.chat.completions.create(
            model="tgi",
            messages=[{"role": "user", "content": "Tell me a story."}],
            temperature=1.5,
            seed=seed,
            n=n,
            max_tokens=16,
        )
        assert [choice.index for choice in answer.choices] == list(range(n))
        return [choice.message.content for choice in answer.choices]

    assert ask(1) == ask(1)
    assert ask(1) != ask(2)
    three = ask(1, n=3)
    assert len(set(three)) == 3
    assert three[:1] == ask(1)


def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tgi", messages=QUESTION, temperature=0, max_tokens=4, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert len(logprobs.content) == 4
    for entry in logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == entry.top_logprobs[0].logprob, "greedy takes the most likely"
        assert sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1 + 1e-5
        assert bytes(entry.bytes or []).decode() == entry.token
    assert "".join(entry.token for entry in logprobs.content) == answer.choices[0].message.content


def test_completions_by_text_list_and_tokens(client: OpenAI) -> None:
    one = client.completions.create(model="tgi", prompt="Once upon a time", temperature=0, max_tokens=8)
    two = client.completions.create(
        model="tgi", prompt=["Once upon a time", "The"], temperature=0, max_tokens=8
    )
    assert one.id.startswith("cmpl-") and one.object == "text_completion"
    assert [choice.index for choice in two.choices] == [0, 1]
    assert two.choices[0].text == one.choices[0].text
    streamed = client.completions.create(
        model="tgi", prompt="Once upon a time", temperature=0, max_tokens=8, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == one.choices[0].text


def test_errors_are_the_sdks_own(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="tgi", messages=QUESTION, temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model="tgi", messages=QUESTION, extra_body={"use_beam_search": True})
    assert unknown.value.param == "use_beam_search"
