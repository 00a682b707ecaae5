"""`text_generation`, TGI's own client."""

import asyncio
import json

import pytest
from text_generation import AsyncClient, Client
from text_generation.errors import ValidationError
from text_generation.types import Grammar, GrammarType, Message, Tool

STORY = "Once upon a time"


@pytest.fixture()
def client(ask) -> Client:
    return Client(ask.url, timeout=120)


def test_generate_and_stream_agree(client: Client) -> None:
    whole = client.generate(STORY, max_new_tokens=12, decoder_input_details=True, top_n_tokens=2)
    assert whole.details.generated_tokens == 12 == len(whole.details.tokens) == len(whole.details.top_tokens)
    assert whole.details.finish_reason == "length"
    assert "".join(token.text for token in whole.details.prefill) == STORY
    events = list(client.generate_stream(STORY, max_new_tokens=12))
    assert [event.token.id for event in events] == [token.id for token in whole.details.tokens]
    assert events[-1].generated_text == whole.generated_text
    assert events[-1].details.generated_tokens == 12


def test_sampling_with_a_seed_repeats(client: Client) -> None:
    options = dict(do_sample=True, temperature=1.2, top_k=50, top_p=0.9, seed=7, max_new_tokens=8)
    assert (
        client.generate(STORY, **options).generated_text == client.generate(STORY, **options).generated_text
    )
    best = client.generate(STORY, best_of=2, do_sample=True, temperature=1.2, max_new_tokens=8)
    assert len(best.details.best_of_sequences) == 1


def test_stop_and_full_text(client: Client) -> None:
    plain = client.generate(STORY, max_new_tokens=20).generated_text
    stop = plain.split()[3]
    stopped = client.generate(STORY, max_new_tokens=20, stop_sequences=[stop], return_full_text=True)
    assert stopped.generated_text == STORY + plain[: plain.index(stop) + len(stop)]
    assert stopped.details.finish_reason == "stop_sequence"


def test_chat(client: Client, ask) -> None:
    """Not as a stream: the client wants `tool_calls` in every delta, and no server sends them."""
    messages = [Message(role="user", content=ask.capital)]
    answer = client.chat(messages, max_tokens=32, temperature=0.01, seed=1)
    assert answer.choices[0].message.content == ask.paris


def test_tools(client: Client, ask) -> None:
    answer = client.chat(
        [Message(role="user", content=ask.weather)],
        tools=[Tool(**ask.tool)],
        tool_choice="get_weather",
        max_tokens=100,
        temperature=0.01,
        seed=1,
    )
    (call,) = answer.choices[0].message.tool_calls
    function = call["function"]
    arguments = function["arguments"]
    ask.check_call(function["name"], json.loads(arguments) if isinstance(arguments, str) else arguments)


def test_grammar(client: Client, ask) -> None:
    grammar = Grammar(type=GrammarType.Json, value=ask.schema)
    ask.check_person(
        json.loads(client.generate(ask.person, grammar=grammar, max_new_tokens=80).generated_text)
    )
    grammar = Grammar(type=GrammarType.Regex, value="[0-9]{3}-[a-z]{2}")
    text = client.generate(ask.person, grammar=grammar, max_new_tokens=20).generated_text
    assert len(text) == 6 and text[:3].isdigit() and text[3] == "-" and text[4:].isalpha()


def test_errors_are_the_clients_own(client: Client) -> None:
    with pytest.raises(ValidationError, match="inputs"):
        client.generate("word " * 9000, max_new_tokens=1)


def test_async(ask) -> None:
    async def run() -> tuple[str, str]:
        client = AsyncClient(ask.url, timeout=120)
        whole = await client.generate(STORY, max_new_tokens=8)
        parts = [event.token.text async for event in client.generate_stream(STORY, max_new_tokens=8)]
        return whole.generated_text, "".join(parts)

    whole, streamed = asyncio.run(run())
    assert whole == streamed
