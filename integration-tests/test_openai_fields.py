"""Fields beyond OpenAI's own, as the `openai` package sends them."""

import math

import openai
import pytest
from openai import OpenAI

from harness import Server
from relabelled import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

PROMPT = "The capital of France is"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture()
def client(demo: Server) -> OpenAI:
    return OpenAI(base_url=f"{demo.base_url}/v1", api_key="none", max_retries=0)


def test_a_text_is_scored_as_it_was_generated(client: OpenAI) -> None:
    made = client.completions.create(model="tgi", prompt=PROMPT, temperature=0, max_tokens=12, logprobs=2)
    assert made.choices[0].logprobs is not None
    generated = made.choices[0].logprobs.token_logprobs
    text = PROMPT + made.choices[0].text
    scored = client.completions.create(model="tgi", prompt=text, max_tokens=0, echo=True, logprobs=2)
    choice = scored.choices[0]
    assert choice.text == text
    assert choice.finish_reason == "length"
    assert scored.usage is not None and scored.usage.completion_tokens == 0
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.token_logprobs is not None and logprobs.tokens is not None
    assert logprobs.token_logprobs[0] is None
    assert "".join(logprobs.tokens) == text
    assert logprobs.text_offset is not None
    offsets = [0]
    for token in logprobs.tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    assert logprobs.text_offset == offsets
    assert generated is not None
    assert logprobs.token_logprobs[-len(generated) :] == pytest.approx(generated, abs=2e-3)


def test_prompt_logprobs(client: OpenAI) -> None:
    answer = client.completions.create(
        model="tgi",
        prompt=PROMPT,
        max_tokens=1,
        temperature=0,
        extra_body={"prompt_logprobs": 3, "return_token_ids": True},
    )
    choice = answer.choices[0].model_dump()
    ids, entries = choice["prompt_token_ids"], choice["prompt_logprobs"]
    assert len(ids) == len(entries) and entries[0] is None
    for token, entry in zip(ids[1:], entries[1:], strict=True):
        own = entry[str(token)]
        assert own["logprob"] <= 0
        others = [other for key, other in entry.items() if key != str(token)]
        assert 2 <= len(others) <= 3
        ranks = sorted(other["rank"] for other in entry.values() if other["rank"] is not None)
        assert ranks[0] == 1 and len(set(ranks)) == len(ranks)


def test_the_best_of_several(client: OpenAI) -> None:
    asked = {"model": "tgi", "prompt": "Once upon a time", "max_tokens": 8, "seed": 5, "temperature": 1.5}
    every = client.completions.create(**asked, n=3, logprobs=0)
    best = client.completions.create(**asked, best_of=3)

    def score(choice: object) -> float:
        logprobs = choice.logprobs.token_logprobs
        return sum(logprobs) / len(logprobs)

    assert [best.choices[0].text] == [max(every.choices, key=score).text]
    with pytest.raises(openai.BadRequestError) as streamed:
        client.completions.create(**asked, best_of=3, stream=True)
    assert streamed.value.param == "best_of"


def test_logit_bias_and_allowed_tokens(client: OpenAI) -> None:
    plain = client.completions.create(
        model="tgi", prompt=PROMPT, temperature=0, max_tokens=1, extra_body={"return_token_ids": True}
    )
    (first,) = plain.choices[0].model_dump()["token_ids"]
    banned = client.completions.create(
        model="tgi", prompt=PROMPT, temperature=0, max_tokens=1, logit_bias={str(first): -100}
    )
    assert banned.choices[0].text != plain.choices[0].text
    only = client.completions.create(
        model="tgi", prompt=PROMPT, max_tokens=4, extra_body={"allowed_token_ids": [first]}
    )
    assert only.choices[0].text == plain.choices[0].text * 4


def test_special_tokens_are_told_on_request(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tgi",
        messages=QUESTION,
        temperature=0,
        max_tokens=32,
        extra_body={"skip_special_tokens": False, "include_stop_str_in_output": True},
    )
    assert answer.choices[0].message.content == "The capital of France is Paris.<|im_end|>"


def test_tokens_by_their_ids(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tgi",
        messages=QUESTION,
        temperature=0,
        max_tokens=2,
        logprobs=True,
        top_logprobs=1,
        extra_body={"return_tokens_as_token_ids": True, "return_token_ids": True},
    )
    choice = answer.choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    names = [entry.token for entry in choice.logprobs.content]
    assert names == [f"token_id:{token}" for token in choice.model_dump()["token_ids"]]


def test_ids_travel_and_unknown_fields_are_told(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="tgi",
        messages=QUESTION,
        max_tokens=1,
        user="somebody",
        extra_headers={"X-Request-Id": "my-id-7"},
        extra_body={"max_token": 5},
    )
    assert raw.headers["x-request-id"] == "my-id-7" == raw.request_id
    assert raw.headers["x-shardline-ignored-fields"] == "max_token"
    assert raw.parse().id == "chatcmpl-my-id-7"


def test_usage_in_every_chunk(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tgi",
        messages=QUESTION,
        temperature=0,
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )
    counts = [chunk.usage.completion_tokens for chunk in stream if chunk.usage is not None]
    assert counts[-1] == 4 and counts == sorted(counts) and set(range(1, 5)) <= set(counts)


def test_a_message_is_continued(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tgi",
        messages=[*QUESTION, {"role": "assistant", "content": "The capital of France"}],
        temperature=0,
        max_tokens=8,
        extra_body={"continue_final_message": True, "add_generation_prompt": False, "echo": True},
    )
    assert answer.choices[0].message.content == "The capital of France is Paris."


def test_tokens_there_and_back(demo: Server) -> None:
    with demo.client() as http:
        told = http.post("/tokenize", json={"prompt": PROMPT, "return_token_strs": True}).json()
        assert told["count"] == len(told["tokens"]) == len(told["token_strs"])
        assert told["max_model_len"] > 1000
        back = http.post("/detokenize", json={"tokens": told["tokens"]}).json()
        assert back == {"prompt": PROMPT}
        places = http.post("/tokenize", json={"inputs": PROMPT}).json()
        assert [token["id"] for token in places] == told["tokens"]
        assert "".join(token["text"] for token in places) == PROMPT
        chat = http.post("/chat_tokenize", json={"messages": QUESTION}).json()
        assert chat["templated_text"].endswith("<|im_start|>assistant\n")
        assert "".join(token["text"] for token in chat["tokenize_response"]) == chat["templated_text"]


def test_clouds(demo: Server) -> None:
    native = {"inputs": PROMPT, "parameters": {"max_new_tokens": 4, "return_full_text": False}}
    with demo.client() as http:
        (answer,) = http.post("/invocations", json=native).json()
        chat = {"messages": QUESTION, "temperature": 0, "max_tokens": 16}
        assert (
            http.post("/invocations", json=chat).json()["choices"][0]["message"]["content"]
            == "The capital of France is Paris."
        )
        greedy = {**native, "parameters": {**native["parameters"], "do_sample": False}}
        predictions = http.post("/vertex", json={"instances": [greedy, chat]}).json()["predictions"]
        assert predictions == [answer["generated_text"], "The capital of France is Paris."]


def test_minimal_probabilities_hold(client: OpenAI) -> None:
    answer = client.completions.create(
        model="tgi",
        prompt=PROMPT,
        temperature=1.5,
        seed=1,
        max_tokens=16,
        logprobs=1,
        extra_body={"top_k": 1, "min_p": 0.5},
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.token_logprobs is not None and logprobs.top_logprobs is not None
    for own, top in zip(logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert math.isclose(own, max(top.values()), abs_tol=1e-6), "top_k of one takes the likeliest"


def test_words_are_kept_away(client: OpenAI) -> None:
    asked = {"model": "tgi", "prompt": PROMPT, "temperature": 0, "max_tokens": 8}
    plain = client.completions.create(**asked)
    assert "Paris" in plain.choices[0].text
    without = client.completions.create(**asked, extra_body={"bad_words": ["Paris"]})
    assert "Paris" not in without.choices[0].text
    for phrase in ("of France", "not a city"):
        # Of several tokens: each may come, and not behind the other.
        longer = {**asked, "max_tokens": 32, "prompt": f"{PROMPT} Paris. The capital"}
        assert phrase in client.completions.create(**longer).choices[0].text
        without = client.completions.create(**longer, extra_body={"bad_words": [phrase]})
        assert phrase not in without.choices[0].text


def test_a_gap_is_filled_where_the_model_has_marks_for_it(client: OpenAI, marked: Server) -> None:
    asked = {"model": "tgi", "prompt": "def add(a, b):\n", "temperature": 0, "max_tokens": 4}
    with pytest.raises(openai.BadRequestError, match="no tokens that mark a gap") as refused:
        client.completions.create(**asked, suffix="\nadd(1, 2)")
    assert refused.value.param == "suffix"

    def ids(text: str) -> list[int]:
        with marked.client() as plain:
            body = {"prompt": text, "add_special_tokens": False}
            return plain.post("/tokenize", json=body).json()["tokens"]

    filler = OpenAI(base_url=f"{marked.base_url}/v1", api_key="none", max_retries=0)
    extra = {"return_token_ids": True}
    filled = filler.completions.create(**asked, suffix="\nadd(1, 2)", extra_body=extra).choices[0]
    before, behind = ids("def add(a, b):\n"), ids("\nadd(1, 2)")
    prompt = [FIM_PREFIX, *before, FIM_SUFFIX, *behind, FIM_MIDDLE]
    assert filled.model_dump()["prompt_token_ids"] == prompt
    spelled = {"prompt": "<fim_prefix>def add(a, b):\n<fim_suffix>\nadd(1, 2)<fim_middle>"}
    by_hand = filler.completions.create(**{**asked, **spelled}, extra_body=extra).choices[0]
    assert by_hand.model_dump()["prompt_token_ids"] == prompt
    assert by_hand.text == filled.text
