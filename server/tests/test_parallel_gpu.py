"""Two GPUs beside one: sums over ranks by NCCL and over the peers' memory, captured steps."""

import pytest
import torch

from support.driver import Driver, Request, SamplingParameters
from support.models import Tiny, by_name, make, prompts, start
from support.ranks import Ranks, free_port

NEW_TOKENS = 24
# Of log-probabilities: bfloat16 rounds each rank's part of a sum by itself. 0.09 was seen.
CLOSE = {"bfloat16": 0.15, "float32": 1e-3}

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are fewer than two GPUs")


def greedy(driver: Driver, budget: int, logprobs: bool) -> list[Request]:
    """Rows with log-probabilities are sampled apart from the captured step, others within it."""
    sampling = SamplingParameters(temperature=0.0, logprobs=logprobs)
    requests = [Request(prompt, sampling, NEW_TOKENS) for prompt in prompts(lengths=(5, 21, 40, 90))]
    driver.run(requests, budget=budget)
    return requests


def drawn(driver: Driver) -> list[int]:
    sampling = SamplingParameters(temperature=0.8, top_p=0.9, top_k=20)
    request = Request(prompts()[0], sampling, NEW_TOKENS, seed=5)
    driver.run([request])
    return request.tokens


UNEVEN = Tiny("uneven", "qwen3", {"head_dim": 32, "num_attention_heads": 9, "num_key_value_heads": 3})


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        (by_name("llama-biased"), "bfloat16"),
        (by_name("qwen3"), "bfloat16"),
        (UNEVEN, "bfloat16"),
        (by_name("qwen3"), "float32"),
        (UNEVEN, "float32"),
    ],
)
def test_two_gpus_give_what_one_gives(model, dtype, tmp_path):
    folder = make(model, tmp_path)
    settings = {"device": "auto", "dtype": dtype, "max_step_tokens": 64}
    shard, one = start(folder, **settings)
    assert shard.info.device.startswith("cuda")
    ranks = Ranks(2, free_port(), folder, **settings)
    assert [info.device.partition(" ")[0] for info in ranks.infos] == ["cuda:0", "cuda:1"]
    two = Driver(ranks, ranks.infos[0].block_size, ranks.infos[0].num_blocks)
    agreed = []
    for budget in (64, 7):
        together, alone = greedy(two, budget, logprobs=True), greedy(one, budget, logprobs=True)
        for ours, theirs in zip(together, alone, strict=True):
            same = [a == b for a, b in zip(ours.tokens, theirs.tokens, strict=True)]
            # At the first difference two tokens were nearly as likely; after it the texts differ.
            until = (same.index(False) if False in same else NEW_TOKENS - 1) + 1
            assert ours.logprobs[:until] == pytest.approx(theirs.logprobs[:until], abs=CLOSE[dtype])
            agreed.append(until - 1)
        within = greedy(two, budget, logprobs=False)
        assert [request.tokens for request in within] == [request.tokens for request in together]
    # In float32 to their ends; in bfloat16 a text of random weights may turn off at its first token, few do.
    assert sum(agreed) >= len(agreed) * (NEW_TOKENS - 1 if dtype == "float32" else 4), agreed
    first, again = drawn(two), drawn(two)
    assert first == again
    assert len(set(first)) > 1
    ranks.close()
