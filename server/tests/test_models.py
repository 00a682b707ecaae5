"""Greedy tokens equal those of `transformers` in float32, however a prompt is cut and mixed."""

import numpy as np
import pytest

from shardline.endpoint.frame import Frame, NewSequence, SamplingParameters
from shardline.ops.torch_ops import TorchOps
from support.driver import Request, i32, tokens_of, u64
from support.models import MODELS, Tiny, by_name, make, oracle_greedy, prompts, start

NEW_TOKENS = 12


@pytest.fixture(scope="module", params=MODELS, ids=lambda tiny: tiny.name)
def model(request, tmp_path_factory):
    tiny: Tiny = request.param
    folder = make(tiny, tmp_path_factory.mktemp(tiny.name))
    expected = [oracle_greedy(folder, prompt, NEW_TOKENS) for prompt in prompts()]
    return folder, expected


def requests() -> list[Request]:
    return [Request(prompt, new_tokens=NEW_TOKENS) for prompt in prompts()]


def test_each_prompt_alone_and_whole(model):
    folder, expected = model
    _, driver = start(folder)
    alone = requests()
    for request in alone:
        driver.run([request])
    assert tokens_of(alone) == expected


@pytest.mark.parametrize(("budget", "block_size"), [(7, 16), (64, 1), (16, 5)])
def test_one_batch_in_chunks(model, budget, block_size):
    folder, expected = model
    _, driver = start(folder, block_size=block_size)
    batch = requests()
    driver.run(batch, budget=budget)
    assert tokens_of(batch) == expected


def test_preempted_sequences_go_on_where_they_stopped(model):
    folder, expected = model
    _, driver = start(folder)
    batch = requests()
    driver.run(batch, budget=16, preempt=lambda step: {4: [0, 3], 7: [3], 9: [1, 2]}.get(step, []))
    assert tokens_of(batch) == expected


def test_the_last_layer_computes_only_what_is_sampled_from(model, monkeypatch):
    folder, expected = model
    _, driver = start(folder, ops="torch")
    rows: list[int] = []
    plain = TorchOps.linear_residual

    def noted(self, h, *others, **named):
        rows.append(h.shape[0])
        return plain(self, h, *others, **named)

    monkeypatch.setattr(TorchOps, "linear_residual", noted)
    prompt, first = prompts()[-1], expected[-1][:1]
    request = Request(prompt, new_tokens=1)
    driver.run([request], budget=len(prompt) - 1)
    assert request.tokens == first
    # Attention's output and the feed-forward's of each layer; nothing of the last one for a chunk that ends
    # inside of the prompt.
    layers = len(rows) // 4 + 1
    chunk = [len(prompt) - 1] * 2 * (layers - 1)
    assert rows == chunk + [1] * 2 * layers
    rows.clear()
    request = Request(prompt, new_tokens=1)
    driver.run([request], budget=len(prompt))
    assert request.tokens == first
    assert rows == [len(prompt)] * 2 * (layers - 1) + [1, 1]


def test_cached_blocks_are_not_computed_again(tmp_path):
    """A second sequence reads the blocks that a first one wrote."""
    folder = make(by_name("qwen3"), tmp_path)
    prompt = prompts(lengths=(40,))[0]
    _, driver = start(folder, block_size=8)
    first = Request(prompt, new_tokens=2)
    driver.run([first])
    written = driver.free[-6:]  # what `first` held, in the order of its table
    sequence = NewSequence(
        sequence_id=99,
        token_ids=i32(prompt),
        num_prompt_tokens=len(prompt),
        num_cached_tokens=32,
        sampling=SamplingParameters(temperature=0.0),
        block_ids=i32(written[:5]),
    )
    frame = Frame(
        step_id=driver.step_id + 1,
        new_sequences=(sequence,),
        sequence_ids=u64([99]),
        num_tokens=i32([8]),
        new_block_counts=i32([0]),
    )
    outcome = driver.runner.complete(driver.runner.launch(frame))
    assert outcome.token_ids.tolist() == first.tokens[:1] == oracle_greedy(folder, prompt, 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(tmp_path, dtype):
    folder = make(by_name("llama"), tmp_path)
    wants = SamplingParameters(temperature=0.0, prompt_logprobs=True)
    scores = []
    for name in (dtype, "float32"):
        shard, driver = start(folder, dtype=name)
        assert shard.info.dtype == name
        request = Request(prompts(lengths=(24,))[0], wants, new_tokens=1)
        driver.run([request], budget=10)
        scores.append(np.concatenate([entry.logprobs for entry in request.prompt_logprobs])[1:])
    assert float(np.abs(scores[0] - scores[1]).mean()) < (0.2 if dtype == "bfloat16" else 0.03)
