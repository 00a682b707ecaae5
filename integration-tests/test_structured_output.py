"""Answers that must look like something: real processes, the demo model, every spelling."""

import concurrent.futures
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI

from harness import Server, children
from schemas import PERSON, SCHEMAS

QUESTION = [{"role": "user", "content": "Answer with some JSON about a dog called Rex who is 7 years old."}]


@pytest.fixture()
def client(demo: Server) -> Iterator[httpx.Client]:
    with demo.client() as client:
        yield client


def ask(client: httpx.Client, **fields: object) -> httpx.Response:
    body = {"model": "tgi", "messages": QUESTION, "max_tokens": 200, "temperature": 0, **fields}
    return client.post("/v1/chat/completions", json=body)


def content(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    assert choice["finish_reason"] == "stop", answer.text
    return choice["message"]["content"]


def schema_format(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def test_every_answer_under_a_schema_parses_and_is_valid(client: httpx.Client) -> None:
    """Greedy and drawn at once, so that rows of different grammars share their steps."""

    def one(case: tuple[str, dict]) -> str | None:
        name, fields = case
        schema = SCHEMAS[name]
        answer = ask(client, response_format=schema_format(schema), **fields)
        try:
            jsonschema.Draft202012Validator(schema).validate(json.loads(content(answer)))
        except (AssertionError, ValueError, jsonschema.ValidationError) as error:
            return f"{name} {fields}: {str(error)[:300]}\n{answer.text[:600]}"
        return None

    cases = [(name, fields) for name in SCHEMAS for fields in ({}, {"temperature": 1, "seed": len(name)})]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        wrong = [result for result in pool.map(one, cases) if result is not None]
    assert not wrong, "\n\n".join(wrong)


def test_all_spellings_give_the_same_answer(client: httpx.Client) -> None:
    spellings = [
        {"response_format": schema_format(PERSON)},
        {"response_format": {"type": "json_object", "value": PERSON}},
        {"response_format": {"type": "json", "value": json.dumps(PERSON)}},
        {"response_format": {"type": "json_schema", "value": {"name": "answer", "schema": PERSON}}},
        {"structured_outputs": {"json": PERSON}},
        {"guided_json": PERSON},
    ]
    answers = {content(ask(client, **spelling)) for spelling in spellings}
    assert len(answers) == 1
    assert set(json.loads(answers.pop())) == {"name", "age"}
    native = client.post(
        "/generate",
        json={
            "inputs": "Rex",
            "parameters": {"grammar": {"type": "json", "value": PERSON}, "max_new_tokens": 80},
        },
    )
    jsonschema.validate(json.loads(native.json()["generated_text"]), PERSON)


def test_expressions_choices_and_grammars(client: httpx.Client) -> None:
    assert re.fullmatch(r"\d{3}-\d{4}", content(ask(client, guided_regex=r"\d{3}-\d{4}")))
    assert content(ask(client, structured_outputs={"choice": ["a cat", "a dog"]})) in ("a cat", "a dog")
    lark = 'start: sum\nsum: NUMBER ("+" NUMBER){1,3}\nNUMBER: /[1-9][0-9]{0,2}/'
    assert re.fullmatch(r"[1-9]\d{0,2}(\+[1-9]\d{0,2}){1,3}", content(ask(client, guided_grammar=lark)))
    compact = content(ask(client, structured_outputs={"json": PERSON, "disable_any_whitespace": True}))
    assert compact == json.dumps(json.loads(compact), separators=(",", ":"))
    anything = ask(client, response_format={"type": "json_object"}, max_tokens=400)
    text = anything.json()["choices"][0]["message"]["content"]
    assert text.lstrip().startswith("{")
    if anything.json()["choices"][0]["finish_reason"] == "stop":
        assert isinstance(json.loads(text), dict)


def test_streams_choices_and_other_parameters_keep_to_it(demo: Server) -> None:
    openai = OpenAI(base_url=f"{demo.base_url}/v1", api_key="none")
    stream = openai.chat.completions.create(
        model="tgi",
        messages=QUESTION,
        max_tokens=100,
        temperature=1,
        n=3,
        seed=5,
        logprobs=True,
        frequency_penalty=0.5,
        stream=True,
        response_format=schema_format(PERSON),
    )
    texts = ["", "", ""]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    for text in texts:
        jsonschema.validate(json.loads(text), PERSON)
    hub = InferenceClient(base_url=demo.base_url)
    answer = hub.chat_completion(
        QUESTION, max_tokens=100, temperature=0, response_format=schema_format(PERSON)
    )
    jsonschema.validate(json.loads(answer.choices[0].message.content), PERSON)
    text = InferenceClient(model=demo.base_url).text_generation(
        "A dog: ",
        max_new_tokens=80,
        grammar={"type": "json", "value": PERSON},
        return_full_text=False,
    )
    jsonschema.validate(json.loads(text), PERSON)


def test_the_end_comes_with_the_structure(client: httpx.Client) -> None:
    """Neither ignored nor asked to be late does the end leave a finished answer open."""
    for fields in ({"ignore_eos": True}, {"min_tokens": 50}):
        assert content(ask(client, guided_choice=["yes", "no"], **fields)) in ("yes", "no")
    longer = ask(client, guided_regex="(ab){1,400}", min_tokens=40, max_tokens=60)
    assert longer.json()["usage"]["completion_tokens"] > 40


def explosion() -> dict:
    return {"allOf": [{"anyOf": [{"properties": {f"p{i}_{j}": {}}} for j in range(8)]} for i in range(6)]}


HOSTILE = [
    ("a cycle of references", {"guided_json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}}),
    ("a reference to elsewhere", {"guided_json": {"$ref": "http://169.254.169.254/latest"}}),
    ("a reference to a file", {"guided_json": {"$ref": "file:///etc/passwd"}}),
    ("more items than there are numbers", {"guided_json": {"type": "array", "minItems": 2**64}}),
    ("an explosion of alternatives", {"guided_json": explosion()}),
    ("ten thousand properties", {"guided_json": {"properties": {f"p{n}": {} for n in range(10_000)}}}),
    ("a million values", {"guided_json": {"enum": list(range(130_000))}}),
    ("an expression that looks back", {"guided_regex": "(?<=a)b"}),
    ("an open group", {"guided_regex": "("}),
    ("brackets without end", {"guided_regex": "(" * 20_000 + ")" * 20_000}),
    ("a rule that is itself", {"guided_grammar": "start: start"}),
    ("a rule that is not there", {"guided_grammar": "start: nowhere"}),
    ("a schema that nothing matches", {"guided_json": {"type": "integer", "minimum": 3, "maximum": 2}}),
    ("a schema that forbids everything", {"guided_json": False}),
    ("a keyword that is not known to be kept", {"guided_json": {"type": "array", "uniqueItems": True}}),
    ("two structures", {"guided_json": {}, "guided_regex": "a"}),
    ("no texts to choose from", {"guided_choice": []}),
    ("a structure of the wrong type", {"guided_regex": ["a"]}),
    ("an unknown format", {"response_format": {"type": "xml"}}),
    ("a format without its schema", {"response_format": {"type": "json_schema"}}),
]


@pytest.mark.parametrize(("name", "fields"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_what_cannot_be_followed_is_refused_by_its_field(
    client: httpx.Client, name: str, fields: dict
) -> None:
    answer = ask(client, **fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"].split(".")[0] in fields and error["code"] and len(error["message"]) < 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"guided_regex": "(a+)+$"},
        {"guided_regex": "(.*a.{15}b|.*b.{14}a|.*c.{13}){3}"},
        {"guided_regex": "(.{0,9999}){0,9999}"},
        {"guided_json": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9}},
        {"guided_json": {"type": "array", "items": {"type": "integer"}, "maxItems": 2**64}},
        {"guided_json": {"type": "string", "pattern": ".*a.{20}"}},
        {"guided_grammar": "root ::= root"},
        {
            "guided_grammar": "start: r0\n"
            + "".join(f'r{n}: "a" r{n + 1}\n' for n in range(5_000))
            + 'r5000: "b"'
        },
        {"guided_grammar": 'start: start start | "a" | "b" start'},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_hostile_grammars_end_alone(client: httpx.Client, fields: dict) -> None:
    """Refused, or ended by their length or by themselves; who asks beside them gets the usual answer."""
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        beside = pool.submit(ask, client, max_tokens=24)
        hostile = [pool.submit(ask, client, max_tokens=24, **fields) for _ in range(4)]
        codes = {future.result().status_code for future in hostile}
        usual = beside.result()
    assert codes <= {200, 400, 500}
    assert content_of(usual) == content_of(ask(client, max_tokens=24))


def content_of(answer: httpx.Response) -> str:
    return answer.json()["choices"][0]["message"]["content"]


def test_a_stream_of_new_schemas_leaves_memory_as_it_was(demo: Server, client: httpx.Client) -> None:
    def resident_bytes() -> int:
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in children(demo.process.pid)]
        return sum(int(size) for status in statuses for size in re.findall(r"VmRSS:\s*(\d+)", status)) * 1024

    def new_schema(number: int) -> int:
        schema = {
            "type": "object",
            "properties": {f"p{number}": PERSON},
            "required": [f"p{number}", "absent"],
        }
        schema["properties"]["absent"] = {"const": number}
        return ask(client, guided_json=schema, max_tokens=1).status_code

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(new_schema, range(300))) == {200}
        before = resident_bytes()
        assert set(pool.map(new_schema, range(300, 700))) == {200}
    assert resident_bytes() - before < 64 << 20
