"""With the real model too, a stream and a whole answer say the same."""

import json
import random

import httpx
import pytest

from harness import Server

SETS = 40
PROMPTS = ["Once upon a time", "The capital of France is", "def main():", "1, 2, 3,"]


def parameters(seed: int) -> dict:
    """One of many ways to ask; the same one for the same seed."""
    dice = random.Random(seed)
    fields: dict = {
        "max_tokens": dice.randint(1, 12),
        "seed": seed,
        "temperature": dice.choice([0, 0.7, 1.2]),
        "return_token_ids": True,
    }
    optional = {
        "top_p": dice.choice([0.5, 0.9]),
        "top_k": dice.choice([1, 20]),
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.3,
        "stop": dice.choice([" the", ["e", "\n\n"], [",", "."]]),
        "include_stop_str_in_output": True,
        "ignore_eos": True,
        "skip_special_tokens": False,
        "min_tokens": 1,
        "logit_bias": {"28": -5},
        "truncate_prompt_tokens": 3,
    }
    fields.update({name: value for name, value in optional.items() if dice.random() < 0.3})
    if fields["temperature"] and dice.random() < 0.3:
        fields["n"] = 2
    return fields


def joined(lines: list[str], texts: str) -> list[dict]:
    """The choices of a stream, put together."""
    choices: dict[int, dict] = {}
    for line in lines:
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            part = choices.setdefault(choice["index"], {"text": "", "token_ids": []})
            said = choice["delta"].get("content") if texts == "chat" else choice["text"]
            part["text"] += said or ""
            part["token_ids"] += choice.get("token_ids") or []
            part["finish_reason"] = choice["finish_reason"]
            part["stop_reason"] = choice.get("stop_reason")
    return [choices[index] for index in sorted(choices)]


@pytest.mark.parametrize("texts", ["chat", "completions"])
def test_streams_agree(demo: Server, texts: str) -> None:
    path = "/v1/chat/completions" if texts == "chat" else "/v1/completions"
    with demo.client() as client:
        for seed in range(SETS // 2):
            prompt = PROMPTS[seed % len(PROMPTS)]
            asked = (
                {"messages": [{"role": "user", "content": prompt}]} if texts == "chat" else {"prompt": prompt}
            )
            # Nothing of one is in the cache of the other: both compute the same.
            body = {**asked, **parameters(seed), "cache_salt": f"{texts}-{seed}"}
            whole = client.post(path, json=body)
            assert whole.status_code == 200, whole.text
            streamed = {**body, "stream": True, "cache_salt": f"{texts}-{seed}-stream"}
            with httpx.stream("POST", f"{demo.base_url}{path}", json=streamed, timeout=120) as response:
                lines = list(response.iter_lines())
            expected = [
                {
                    "text": choice["message"]["content"] if texts == "chat" else choice["text"],
                    "token_ids": choice["token_ids"],
                    "finish_reason": choice["finish_reason"],
                    "stop_reason": choice["stop_reason"],
                }
                for choice in whole.json()["choices"]
            ]
            assert joined(lines, texts) == expected, body
