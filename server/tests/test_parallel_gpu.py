"""Two GPUs give one GPU's tokens: NCCL, sums over peers' memory, captured steps."""

import socket

import pytest
import torch

from support.driver import Driver, Request, SamplingParameters, tokens_of
from support.models import by_name, make, prompts, start
from support.ranks import Ranks

NEW_TOKENS = 12
SETTINGS = {"device": "auto", "dtype": "float32", "max_step_tokens": 64}

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are fewer than two GPUs")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def requests() -> list[Request]:
    greedy = [Request(prompt, new_tokens=NEW_TOKENS) for prompt in prompts(lengths=(5, 21, 40))]
    drawn = [
        Request(prompts()[0], SamplingParameters(temperature=0.8, top_p=0.9, top_k=20), NEW_TOKENS, seed=5),
        # Sampled apart from the captured step.
        Request(prompts()[2], SamplingParameters(repetition_penalty=1.3, logprobs=True), NEW_TOKENS, seed=6),
    ]
    return [*greedy, *drawn]


@pytest.mark.parametrize("name", ["llama", "llama-biased", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("budget", [7, 64])
def test_two_gpus_give_the_tokens_of_one(name, budget, tmp_path):
    folder = make(by_name(name), tmp_path)
    ranks = Ranks(2, free_port(), folder, **SETTINGS)
    together = requests()
    Driver(ranks, ranks.infos[0].block_size, ranks.infos[0].num_blocks).run(together, budget=budget)
    ranks.close()
    shard, driver = start(folder, **SETTINGS)
    alone = requests()
    driver.run(alone, budget=budget)
    assert shard.info.device.startswith("cuda")
    assert [info.device.partition(" ")[0] for info in ranks.infos] == ["cuda:0", "cuda:1"]
    assert tokens_of(together) == tokens_of(alone)
