"""`huggingface_hub.InferenceClient`, as users of TGI have it in their programs."""

import pytest
from huggingface_hub import InferenceClient

from harness import Server

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture()
def client(demo: Server) -> InferenceClient:
    return InferenceClient(base_url=demo.base_url)


def test_chat(client: InferenceClient) -> None:
    answer = client.chat_completion(QUESTION, temperature=0, max_tokens=32)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    stream = client.chat_completion(QUESTION, temperature=0, max_tokens=32, stream=True)
    assert (
        "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        == "The capital of France is Paris."
    )


def test_text_generation(demo: Server) -> None:
    client = InferenceClient(model=demo.base_url)
    full = client.text_generation("Once upon a time", max_new_tokens=8)
    text = client.text_generation("Once upon a time", max_new_tokens=8, return_full_text=False)
    assert full == "Once upon a time" + text, (
        "the route that these clients use gives the whole text by default"
    )
    details = client.text_generation(
        "Once upon a time", max_new_tokens=8, details=True, return_full_text=False
    )
    assert details.generated_text == text
    assert details.details is not None
    assert details.details.generated_tokens == 8 == len(details.details.tokens)
    assert details.details.finish_reason == "length"
    assert "".join(token.text for token in details.details.tokens) == text
    assert "".join(client.text_generation("Once upon a time", max_new_tokens=8, stream=True)) == text
    last = list(client.text_generation("Once upon a time", max_new_tokens=8, stream=True, details=True))[-1]
    assert last.generated_text == full
    assert last.details is not None and last.details.finish_reason == "length"
