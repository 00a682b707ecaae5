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


def test_the_whole_of_text_generation(demo: Server) -> None:
    client = InferenceClient(model=demo.base_url)
    answer = client.text_generation(
        "Once upon a time",
        max_new_tokens=4,
        do_sample=True,
        best_of=2,
        details=True,
        decoder_input_details=True,
        top_n_tokens=2,
        return_full_text=False,
    )
    details = answer.details
    assert details is not None and details.best_of_sequences is not None
    (other,) = details.best_of_sequences
    assert other.seed != details.seed
    assert sum(t.logprob for t in other.tokens) / other.generated_tokens <= (
        sum(t.logprob for t in details.tokens) / details.generated_tokens
    )
    assert "".join(token.text for token in details.prefill) == "Once upon a time"
    assert details.prefill[0].logprob is None and details.prefill[1].logprob < 0
    assert details.top_tokens is not None and [len(top) for top in details.top_tokens] == [2] * 4
    short = client.text_generation(
        "one two three four five six", max_new_tokens=1, truncate=2, details=True, decoder_input_details=True
    )
    assert short.details is not None and len(short.details.prefill) == 2
